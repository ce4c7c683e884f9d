#!/bin/sh
# Compiles the core with each node for an ESP32-C3 (RISC-V, rv32imc), prints what each takes of flash and RAM, and fails
# where it is too much. Transport, TLS and the board's own code come on top; they are not the core's.
set -eu
cd "$(dirname "$0")"

TEXT_LIMIT=$((24 * 1024))
RAM_LIMIT=$((4 * 1024))
# The tasks of ESP-IDF have stacks of 4 KiB and more; one function may take a quarter of that.
FRAME_LIMIT=1024

command -v riscv64-unknown-elf-g++ >/dev/null || {
  echo "check-size.sh: riscv64-unknown-elf-g++ is needed: apt install gcc-riscv64-unknown-elf" >&2
  exit 2
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
code=0

flags="-std=c++17 -march=rv32imc -mabi=ilp32 -Os -Wall -Wextra -Werror -fno-exceptions -fno-rtti -ffreestanding
  -ffunction-sections -fdata-sections -fno-threadsafe-statics -fno-asynchronous-unwind-tables -Wframe-larger-than=$FRAME_LIMIT"
compile() { # compile OUTPUT SOURCE ARGUMENTS
  output=$1 source=$2
  shift 2
  # shellcheck disable=SC2086 -- flags are words
  riscv64-unknown-elf-g++ $flags "$@" -c "$source" -o "$work/$output.o"
}

for source in core/*.cpp; do compile "core-$(basename "$source" .cpp)" "$source"; done
for source in nodes/*.cpp; do compile "node-$(basename "$source" .cpp)" "$source"; done

echo "node          text bytes  RAM bytes"
for node in dht22:Dht22 motion:Motion light:Light motion_light:MotionLight; do
  name=${node%:*}
  compile board riscv/stub_board.cpp -fno-builtin -fno-tree-loop-distribute-patterns -DNODE="${node#*:}" -DNODE_HEADER="\"../nodes/$name.hpp\""
  riscv64-unknown-elf-g++ -march=rv32imc -mabi=ilp32 -nostdlib -Wl,--gc-sections "$work"/core-*.o "$work"/node-*.o \
    "$work/board.o" -lgcc -o "$work/$name.elf"
  # Berkeley's columns: text (with read-only data), data, bss.
  # shellcheck disable=SC2046 -- three words
  set -- $(riscv64-unknown-elf-size "$work/$name.elf" | tail -n 1)
  ram=$(($2 + $3))
  printf '%-12s  %10d  %9d\n' "$name" "$1" "$ram"
  if [ "$1" -gt "$TEXT_LIMIT" ] || [ "$ram" -gt "$RAM_LIMIT" ]; then
    echo "check-size.sh: $name is above $TEXT_LIMIT bytes of text or $RAM_LIMIT of RAM" >&2
    code=1
  fi
done
exit $code
