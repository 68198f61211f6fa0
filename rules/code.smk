# Snakemake sees a change of a script, and none of what the script imports. So every job has among its
# parameters, as `code`, the digest of all that its script reaches. Included last: no rule is listed.

# Repository and revision decide every byte of a model that is downloaded: a change in how it is
# fetched is not worth fetching gigabytes again.
PINNED = ("fetch_model.py",)


def code_behind(script):
    "Return the parameter `code` of a rule: a function of a job's wildcards."

    def code(wildcards):
        return code_of(script, *filter(None, [wildcards.get("backend")]))

    return code


for each in workflow.modifier.rules:
    script = Path(each.script or "").name
    if script and script not in PINNED and "code" not in each.params.keys():
        each.set_params(code=code_behind(script))
