# shellcheck shell=bash
# Boots one kernel in QEMU under software emulation (TCG), which needs no virtualization support of the machine.

# Time limit of a whole boot. The guest limits each of its steps; this limit is for a guest that hangs as a whole.
readonly BOOT_SECONDS=1500
readonly COMMON=(-accel tcg -m 768 -smp 1 -nodefaults -nographic -no-reboot -serial stdio)
# `oops=panic`: a guest stops when its kernel has failed, since its results then say nothing about our programs.
# `no_timer_check`: on a busy machine the emulated timer is too late for the test that x86 does at boot.
readonly APPEND="quiet panic=-1 oops=panic mitigations=off no_timer_check"

# emulator NAME: prints the command for that kernel and its special options, one word a line.
emulator() {
    case $1 in
    # With `max`, pointer authentication makes the emulation three times slower.
    arm64-*) printf '%s\n' qemu-system-aarch64 -M virt -cpu cortex-a72 ;;
    # Without cx16: under emulation, 6.12 crashes at random in the double-word exchange of its allocator. Newer kernels
    # need cx16 to allocate memory in BPF programs, as every real x86-64 machine has it.
    6.12) printf '%s\n' qemu-system-x86_64 -cpu max,-cx16 ;;
    *) printf '%s\n' qemu-system-x86_64 -cpu max ;;
    esac
}

# console NAME: prints the name of that machine's serial port.
console() {
    if [[ $1 == arm64-* ]]; then echo ttyAMA0; else echo ttyS0; fi
}

# boot NAME VMLINUZ INITRD LOG: runs the guest until it powers off. Fails when the guest did not get to its end.
boot() {
    local name=$1 vmlinuz=$2 initrd=$3 log=$4 command
    mapfile -t command < <(emulator "$name")
    # `--foreground` keeps QEMU in this shell's process group.
    timeout --foreground --kill-after=5 "$BOOT_SECONDS" "${command[@]}" "${COMMON[@]}" -kernel "$vmlinuz" -initrd "$initrd" \
        -append "console=$(console "$name") $APPEND TT_TIERS=$(kernel_tiers "$name") TT_TRIED=$(tried_tiers "$name")" </dev/null >"$log" 2>&1 || true
    grep -q "^##matrix done" "$log"
}

# boot_or_again ...: boots, and once more if the guest crashed: emulation is not perfect, and a failed test does not end
# a guest early.
boot_or_again() {
    local log=${*: -1}
    boot "$@" && return
    mv "$log" "$log.crashed"
    say "the guest did not come to its end, starting it once more (its log: $log.crashed)"
    boot "$@"
}
