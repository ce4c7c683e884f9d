import { existsSync } from 'node:fs';
import { aptInstall, aptIsUsable, findProgram } from '@muster/engines';

/** Programs and files that nobody here wrote and that the end-to-end tests use, with the Debian package of each. */
const TOOLS: readonly (readonly [programOrFile: string, debianPackage: string])[] = [
  ['mosquitto_pub', 'mosquitto-clients'],
  ['mosquitto_sub', 'mosquitto-clients'],
  ['psql', 'postgresql-client'],
  ['curl', 'curl'],
  ['tmux', 'tmux'],
  ['zsh', 'zsh'],
  ['fish', 'fish'],
  ['chromium', 'chromium'],
  ['docker-compose', 'docker-compose'],
  ['python3', 'python3-venv'],
  ['prometheus-alertmanager', 'prometheus-alertmanager'],
  ['cmake', 'cmake'],
  ['make', 'make'],
  ['g++', 'g++'],
  ['clang++', 'clang'],
  ['wasm-ld', 'lld'],
  ['riscv64-unknown-elf-g++', 'gcc-riscv64-unknown-elf'],
  ['/usr/include/gtest/gtest.h', 'libgtest-dev'],
  ['/usr/include/nlohmann/json.hpp', 'nlohmann-json3-dev'],
  ['/usr/include/mosquitto.h', 'libmosquitto-dev'],
];

/** Installs what is missing; tests that need a program that cannot be had are skipped with that reason, in CI they fail. */
export default async function setup(): Promise<void> {
  const isThere = (tool: string): boolean =>
    tool.startsWith('/') ? existsSync(tool) : findProgram(tool) !== undefined;
  const missing = new Set(TOOLS.filter(([tool]) => !isThere(tool)).map(([, name]) => name));
  if (missing.size === 0) return;
  if (!aptIsUsable()) {
    process.stderr.write(`end-to-end tools are missing: install ${[...missing].join(', ')}\n`);
    return;
  }
  process.stderr.write(`installing ${[...missing].join(', ')} for the end-to-end tests\n`);
  await aptInstall([...missing], (line) => process.stderr.write(`  ${line}\n`));
}
