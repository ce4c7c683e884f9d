#!/bin/sh
# Type-checks the board's own code where ESP-IDF is not installed: against declarations of the public API that it uses.
# It shows that names and types are right; nothing is built, and nothing of it has run on a board.
set -eu
cd "$(dirname "$0")"

if command -v riscv64-unknown-elf-g++ >/dev/null; then
  # The compiler of an ESP32-C3, without a C library.
  compiler="riscv64-unknown-elf-g++ -march=rv32imc -mabi=ilp32"
elif command -v g++ >/dev/null; then
  compiler=g++
else
  echo "check.sh: riscv64-unknown-elf-g++ or g++ is needed: apt install gcc-riscv64-unknown-elf" >&2
  exit 2
fi

check() { # check NAME DEFINITIONS...
  name=$1
  shift
  for source in main/*.cpp; do
    # shellcheck disable=SC2086 -- the compiler is words
    $compiler -std=c++17 -fsyntax-only -Wall -Wextra -Werror -fno-exceptions -fno-rtti -ffreestanding \
      -isystem declarations "$@" "$source"
  done
  echo "$name: $(ls main/*.cpp | wc -l) files"
}

check "ESP32, MQTT 5" -DCONFIG_IDF_TARGET_ESP32=1 -DCONFIG_MUSTER_MQTT_5=1
check "ESP32, MQTT 3.1.1, battery" -DCONFIG_IDF_TARGET_ESP32=1 -DCONFIG_MUSTER_BATTERY_GPIO=34
check "ESP32-C3, MQTT 5, battery" -DCONFIG_IDF_TARGET_ESP32C3=1 -DCONFIG_MUSTER_MQTT_5=1 -DCONFIG_MUSTER_BATTERY_GPIO=3
