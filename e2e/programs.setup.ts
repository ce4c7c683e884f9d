import { existsSync } from 'node:fs';
import { aptInstall, aptIsUsable, findProgram } from '@muster/engines';

/**
 * Programs and files that nobody here wrote and that integration and end-to-end tests use, with the Debian package of
 * each. Engines are among them: where a Docker engine answers, Muster would take their images, which take longer.
 */
const PROGRAMS: readonly (readonly [programOrFile: string, debianPackage: string])[] = [
  ['mosquitto', 'mosquitto'],
  ['influxd', 'influxdb'],
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
  const missing = new Set(PROGRAMS.filter(([tool]) => !isThere(tool)).map(([, name]) => name));
  if (missing.size === 0) return;
  if (!aptIsUsable()) {
    process.stderr.write(`programs that tests need are missing: install ${[...missing].join(', ')}\n`);
    return;
  }
  process.stderr.write(`installing ${[...missing].join(', ')} for the tests\n`);
  await aptInstall([...missing], (line) => process.stderr.write(`  ${line}\n`));
}
