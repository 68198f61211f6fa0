# Defaults of what a rule with a script has. Included last, so that no list of them is kept.
#
#   log     <logs>/<name of the script>[/<wildcards of the output>].log
#   params  code, the digest of all that the script reaches: Snakemake sees a change of a script, and
#           none of what it imports

# Repository and revision decide every byte of a model that is downloaded: a change in how it is
# fetched is not worth fetching gigabytes again.
PINNED = ("fetch_model", "fetch_judge")


def add_log(each, script):
    names = [f"{{{name}}}" for name in each.output[0].regex().groupindex]
    each.log_modifier = each.output_modifier
    each.set_log(f"<logs>/{'/'.join([script, *names])}.log")


def add_code(each, script):
    def code(wildcards):
        return code_of(f"{script}.py", *filter(None, [wildcards.get("backend")]))

    each.set_params(code=code)


for each in workflow.modifier.rules:
    script = Path(each.script or "").stem
    if script and not each.log:
        add_log(each, script)
    if script and script not in PINNED and "code" not in each.params.keys():
        add_code(each, script)
