#!/bin/sh
# Builds muster-device.wasm. With --check builds it aside and compares: 0 the same, 1 another, 3 when this machine's
# compiler is not the one that made the committed file (compiler.txt), so that bytes cannot be compared.
set -eu
export LC_ALL=C
cd "$(dirname "$0")"

fail() {
  echo "build.sh: $1" >&2
  exit "$2"
}

command -v clang >/dev/null && command -v wasm-ld >/dev/null || fail "clang and lld are needed: apt install clang lld" 2
compiler="$(clang --version | head -n 1); $(wasm-ld --version)"
check=${1:-}
if [ "$check" = --check ] && [ "$compiler" != "$(cat compiler.txt)" ]; then
  fail "muster-device.wasm was made with $(cat compiler.txt); here is $compiler" 3
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# One translation unit: nothing depends on the order of files, and the linker sees everything.
for source in ../core/*.cpp ../nodes/*.cpp platform.cpp; do
  name=$(basename "$source" .cpp)
  # -fno-builtin for the file that defines memcpy: a loop that copies must not become a call of itself.
  [ "$name" = platform ] && own=-fno-builtin || own=
  # shellcheck disable=SC2086 -- empty or one option
  clang++ --target=wasm32 -std=c++17 -Os -flto -ffreestanding -fno-exceptions -fno-rtti -fvisibility=hidden \
    -fno-threadsafe-statics -Wall -Wextra -Werror $own -c "$source" -o "$work/$name.o"
done
# A stack of 16 KiB at the bottom: an overflow traps instead of writing over devices.
wasm-ld --no-entry --strip-all --gc-sections --lto-O2 -O2 --stack-first -z stack-size=16384 \
  "$work"/*.o -o "$work/muster-device.wasm"

if [ "$check" = --check ]; then
  cmp "$work/muster-device.wasm" muster-device.wasm || fail "muster-device.wasm is not fresh; run firmware/wasm/build.sh" 1
else
  cat "$work/muster-device.wasm" >muster-device.wasm
  echo "$compiler" >compiler.txt
fi
echo "muster-device.wasm: $(wc -c <muster-device.wasm) bytes"
