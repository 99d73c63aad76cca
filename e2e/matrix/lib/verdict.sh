# shellcheck shell=bash
# Reads the guests' consoles for the results of each step and its cases, and prints them as a table.

readonly COLUMNS=(check tp_btf fexit kretprobe http stacks)

# said LOG: prints the guest's console without carriage returns.
said() {
    tr -d '\r' <"$1"
}

# step_lines NAME STEP: prints the step's output, with FAIL replaced by `unseen` for the cases of kernel_unfound.
step_lines() {
    said "$OUT/$1.log" | awk -v step="$2" -v unfound="$(kernel_unfound "$1" "$2")" '
        BEGIN { rules = split(unfound, rule, "\n") }
        $1 == "##matrix" && $2 == "end" && $3 == step { inside = 0 }
        inside && $1 == "FAIL" && NF == 5 {
            for (i = 1; i <= rules; i++) {
                pattern = rule[i]
                sub(/ .*/, "", pattern)
                if (pattern != "" && index($2, pattern) == 1) {
                    sub(/^FAIL  /, "unseen")
                    print
                    print "         " substr(rule[i], length(pattern) + 2)
                    next
                }
            }
        }
        inside
        $1 == "##matrix" && $2 == "begin" && $3 == step { inside = 1 }'
}

# step_end LOG STEP: prints the step's result; nothing if the step did not end.
step_end() {
    said "$1" | sed -n "s/^##matrix end $2 [0-9]* s: //p"
}

# guest_kernel LOG: prints the release of the guest's kernel.
guest_kernel() {
    said "$1" | sed -n 's/^##matrix kernel //p'
}

# cases NAME STEP: prints the number of cases by result: ok, FAIL, unseen, skipped.
cases() {
    step_lines "$1" "$2" | awk '
        $1 == "ok" { ok++ } $1 == "FAIL" { fail++ } $1 == "unseen" { unseen++ } $1 == "SKIPPED:" { skipped++ }
        END { print ok + 0, fail + 0, unseen + 0, skipped + 0 }'
}

# missed NAME STEP: prints the number of events that the product reported as skipped by the kernel.
missed() {
    step_lines "$1" "$2" | sed -n 's/^FAIL *lost missedEvents: //p'
}

# cell NAME STEP: prints the cell of the table.
cell() {
    local end passed failed unseen skipped missed text
    end=$(step_end "$OUT/$1.log" "$2")
    case $2:$end in
    *:) echo "FAIL: the guest crashed" ;;
    check:0) echo ok ;;
    check:*) echo "FAIL: $end" ;;
    *:[01])
        read -r passed failed unseen skipped < <(cases "$1" "$2")
        missed=$(missed "$1" "$2")
        text="$passed cases"
        ((unseen == 0)) || text+=", $unseen unseen"
        ((skipped == 0)) || text+=", $skipped skipped"
        if ((passed == 0)); then
            echo "FAIL: no case was exact"
        elif [[ -n $missed ]] && kernel_skips "$1"; then
            if ((failed == 1)); then
                echo "exact, and says that it may not be ($text; $missed events skipped)"
            else
                echo "inexact, and says so ($text, $((failed - 1)) not; $missed events skipped)"
            fi
        elif ((failed)); then
            echo "FAIL: $failed of $((passed + failed + unseen)) cases"
        elif [[ $end == 1 ]] && ((unseen == 0)); then
            echo "FAIL: the suite says so, and no case"
        else
            echo "ok ($text)"
        fi
        ;;
    *) echo "FAIL: $end" ;;
    esac
}

# has_step NAME STEP: succeeds if the step is run on that kernel.
has_step() {
    case $2 in
    check) ;;
    http) kernel_has_http "$1" ;;
    stacks) kernel_has_stacks "$1" ;;
    *) [[ ,$(tried_tiers "$1"), == *",$2,"* ]] ;;
    esac
}

# details NAME...: prints the cases that failed, were not seen or not run, with the reasons.
details() {
    local name step lines
    for name in "$@"; do
        for step in "${COLUMNS[@]}"; do
            has_step "$name" "$step" || continue
            # Cases that the suite skips because a kernel lacks a feature are listed as `not here`: a test that was
            # SKIPPED would be a gap.
            lines=$(step_lines "$name" "$step" | sed 's/^SKIPPED:/not here/' | grep -E '^(FAIL|unseen|not here) ' || true)
            [[ -z $lines ]] || printf '\n%s, %s (%s):\n%s\n' "$name" "$step" "$OUT/$name.log" "$lines"
        done
    done
}

# verdict NAME...: prints details, the table, and a line that counts its cells. Fails when a cell failed or, with
# CI=true, a kernel was skipped.
verdict() {
    local name step text passed=0 failed=0 row rows=()
    rows+=("KERNEL|ARCHITECTURE|RELEASE$(printf '|%s' "${COLUMNS[@]}")")
    for name in "$@"; do
        row="$name|$(kernel_architecture "$name")|$(guest_kernel "$OUT/$name.log")"
        for step in "${COLUMNS[@]}"; do
            text=-
            if has_step "$name" "$step"; then
                text=$(cell "$name" "$step")
                if [[ $text != FAIL* ]]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
            fi
            row+="|$text"
        done
        rows+=("$row")
    done
    details "$@"
    echo
    printf '%s\n' "${rows[@]}" | column -t -s '|'
    if ((failed)); then text=FAILED; else text=ok; fi
    echo "test result: $text. $passed passed; $failed failed; $skipped skipped"
    ((failed == 0)) && { ((skipped == 0)) || [[ ${CI:-} != true ]]; }
}
