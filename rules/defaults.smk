# Defaults of rules with a script. Included last, so that no list of them is kept.
#
#   log        <logs>/<name of the script>[/<wildcards of the output>].log
#   code       a parameter, the digest of all that the script reaches: Snakemake sees a change of a
#              script, and none of what it imports
#   localrule  where no resources are asked for, a cluster has nothing to give

# Repository and revision decide every byte of a model that is downloaded: a change in how it is
# fetched is not worth fetching gigabytes again.
PINNED = ("fetch_model", "fetch_judge")


def add_defaults(each, script):
    if not each.log:
        names = [f"{{{name}}}" for name in each.output[0].regex().groupindex]
        each.log_modifier = each.output_modifier
        each.set_log(f"<logs>/{'/'.join([script, *names])}.log")

    def code(wildcards):
        return code_of(f"{script}.py", *filter(None, [wildcards.get("backend")]))

    if script not in PINNED and "code" not in each.params.keys():
        each.set_params(code=code)
    if not each.ruleinfo.resources:
        workflow.localrules(each.name)


for each in workflow.modifier.rules:
    if each.script:
        add_defaults(each, Path(each.script).stem)
