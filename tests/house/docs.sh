#!/usr/bin/env bash
# What README and docs tell a user to type: settings are taken by the programs, files that are linked are there.
set -euo pipefail
cd "${ND_SOURCE:?}"
bin=${ND_BIN:?}
bad=0 seen=0
while read -r setting; do
    seen=$((seen + 1))
    # It ends with an error all the same, there is no dataset to say anything of; a setting is refused before that.
    said=$("$bin/ndgen" "$setting" --dry-run data.dataset=/nonexistent 2>&1) || true
    ! grep 'error: command line:' <<<"$said" || bad=1
done < <(grep -ohE '\b(name|out|seed|threads|quiet|data|encode|model|train|gen|eval|comm)\.[a-z_.]+=[^][ `,);|"]+' README.md docs/*.md |
    grep -v '=\.*$' | sort -u)
[ "$seen" -gt 15 ] || { echo "only $seen settings were found: the check is broken"; bad=1; }
for file in README.md docs/*.md data/*/README.md; do
    while read -r link; do
        [[ $link =~ ^https?: ]] || [ -e "$(dirname "$file")/$link" ] || { echo "$file: no $link"; bad=1; }
    done < <(grep -oE '\]\([^)#]+' "$file" | cut -c3-)
done
exit $bad
