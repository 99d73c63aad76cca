# shellcheck shell=bash
# Boots one kernel in QEMU under software emulation, which needs nothing of the machine.

# The guest bounds each of its steps; this is for one that hangs as a whole.
readonly BOOT_SECONDS=1500
readonly COMMON=(-accel tcg -m 768 -smp 1 -nodefaults -nographic -no-reboot -serial stdio)
# `oops=panic`: a guest whose kernel has failed says nothing about our programs. `no_timer_check`: on a busy machine
# the emulated timer comes too late for x86's test of it.
readonly APPEND="quiet panic=-1 oops=panic mitigations=off no_timer_check"

# emulator NAME: the command for that kernel, and what only it needs, one word a line.
emulator() {
    case $1 in
    # Of `max`, pointer authentication makes the emulation three times slower.
    arm64-*) printf '%s\n' qemu-system-aarch64 -M virt -cpu cortex-a72 ;;
    # Without cx16: 6.12 crashes at random in its allocator's double-word exchange under emulation. Newer kernels
    # need it to allocate in BPF programs, as any real x86-64 has it.
    6.12) printf '%s\n' qemu-system-x86_64 -cpu max,-cx16 ;;
    *) printf '%s\n' qemu-system-x86_64 -cpu max ;;
    esac
}

# console NAME: the serial port of that machine.
console() {
    if [[ $1 == arm64-* ]]; then echo ttyAMA0; else echo ttyS0; fi
}

# boot NAME VMLINUZ INITRD LOG: runs the guest to its end. Fails when it did not come to it.
boot() {
    local name=$1 vmlinuz=$2 initrd=$3 log=$4 command
    mapfile -t command < <(emulator "$name")
    # In the foreground: in this shell's process group.
    timeout --foreground --kill-after=5 "$BOOT_SECONDS" "${command[@]}" "${COMMON[@]}" -kernel "$vmlinuz" -initrd "$initrd" \
        -append "console=$(console "$name") $APPEND TT_TIERS=$(kernel_tiers "$name") TT_TRIED=$(tried_tiers "$name")" </dev/null >"$log" 2>&1 || true
    grep -q "^##matrix done" "$log"
}

# boot_or_again ...: the same. A guest that crashed is started once more: emulation is not perfect, and a failed test
# does not end a guest.
boot_or_again() {
    local log=${*: -1}
    boot "$@" && return
    mv "$log" "$log.crashed"
    say "the guest did not come to its end, starting it once more (its log: $log.crashed)"
    boot "$@"
}
