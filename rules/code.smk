# Snakemake sees a change of a script, and none of what the script imports. So every job has among its
# parameters, as `code`, the digest of all that its script reaches. Included last: no rule is listed.

# Repository and revision decide every byte of a model that is downloaded: a change in how it is
# fetched is not worth fetching gigabytes again.
PINNED = ("fetch_model.py", "fetch_judge.py")


def add_code(each):
    "Give a rule with a script the parameter `code`, unless it has one of its own."
    script = Path(each.script or "").name
    if not script or script in PINNED or "code" in each.params.keys():
        return

    def code(wildcards):
        return code_of(script, *filter(None, [wildcards.get("backend")]))

    each.set_params(code=code)


for each in workflow.modifier.rules:
    add_code(each)
