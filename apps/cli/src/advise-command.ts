import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import {
  Advisor,
  AdvisorError,
  CertificateFolder,
  localHosts,
  type Advice,
  type AdviceDocument,
  type ServerCertificate,
  type WrittenConfiguration,
} from '@muster/security';
import type { Command } from 'commander';
import { wholeNumber } from './arguments.ts';
import { plain } from './output.ts';
import { UsageError } from './up/settings.ts';

const EXIT_BELOW = 1;
/** Where the password of a new account is left: a terminal and its log are no place for it. */
const PASSWORD_FILE = 'muster-password';

interface AdviseOptions {
  readonly json: boolean;
  readonly write?: string;
  readonly force: boolean;
  readonly failUnder?: number;
  readonly ca?: string;
  readonly certificate?: string;
  readonly key?: string;
}

/** The advice as people read it: the score, then each finding with its place, why it matters and what mends it. */
export function adviceText({ file, score: points, findings }: Advice): string {
  const places = findings.map((finding) => `${finding.file}${finding.line === null ? '' : `:${finding.line}`}`);
  const width = Math.max(0, ...places.map((place) => plain(place).length));
  const lines = findings.flatMap(({ severity, points: lost, title, why, fix }, index) => [
    '',
    `${plain(places[index] ?? '').padEnd(width)}  ${severity.padEnd(8)}  ${(lost === 0 ? '0' : `-${lost}`).padStart(3)}  ${plain(title)}`,
    `    why  ${plain(why)}`,
    ...fix.map((line, row) => `    ${row === 0 ? 'fix' : '   '}  ${plain(line)}`),
  ]);
  const count = findings.length === 1 ? '1 finding' : `${findings.length} findings`;
  return [`${plain(file)}: ${points} of 100, ${findings.length === 0 ? 'nothing found' : count}`, ...lines].join('\n');
}

function certificateOf({ ca, certificate, key }: AdviseOptions): ServerCertificate | undefined {
  if (ca === undefined && certificate === undefined && key === undefined) return undefined;
  if (ca === undefined || certificate === undefined || key === undefined)
    throw new UsageError('--ca, --certificate and --key go together: each names a PEM file');
  return { ca: readText(ca), certificate: readText(certificate), key: readText(key) };
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** Certificates for this machine, where the configuration has none that can be used: kept in DIR/tls with their authority. */
async function madeCertificate(folder: string): Promise<ServerCertificate> {
  const certificates = new CertificateFolder(path.join(folder, 'tls'));
  await certificates.issue([{ broker: 'mosquitto', hosts: localHosts() }]);
  return { ca: certificates.read('ca').certificate, ...certificates.read('mosquitto') };
}

/** Writes the new configuration, and beside it the password of a new account. */
async function write(
  advisor: Advisor,
  folder: string,
  options: AdviseOptions,
): Promise<NonNullable<AdviceDocument['written']>> {
  const passwordFile = path.join(path.resolve(folder), PASSWORD_FILE);
  if (existsSync(passwordFile) && !options.force)
    throw new UsageError(`${passwordFile} would be overwritten; choose another folder or say --force`);
  const given = certificateOf(options);
  const writeWith = (certificate: ServerCertificate | undefined): WrittenConfiguration =>
    advisor.write({ folder, replace: options.force, ...(certificate === undefined ? {} : { certificate }) });
  let result: WrittenConfiguration;
  try {
    result = writeWith(given);
  } catch (error) {
    if (!(error instanceof AdvisorError) || error.code !== 'certificate-missing') throw error;
    result = writeWith(await madeCertificate(folder));
  }
  const { file, files, notes, advice, account } = result;
  const written = { file, files: [...files], notes: [...notes], advice };
  if (account === undefined) return { ...written, passwordFile: null };
  rmSync(passwordFile, { force: true });
  writeFileSync(passwordFile, `${account.password}\n`, { mode: 0o600, flag: 'wx' });
  return { ...written, passwordFile };
}

async function advise(file: string, options: AdviseOptions): Promise<void> {
  if (options.force && options.write === undefined) throw new UsageError('--force goes with --write DIR');
  const advisor = new Advisor(file);
  const advice = advisor.advice();
  const written = options.write === undefined ? undefined : await write(advisor, options.write, options);
  if (options.json) {
    const document: AdviceDocument = written === undefined ? advice : { ...advice, written };
    process.stdout.write(`${JSON.stringify(document)}\n`);
  } else process.stdout.write(`${adviceText(advice)}\n${written === undefined ? '' : writtenText(written)}`);
  const { score: points } = written?.advice ?? advice;
  if (options.failUnder !== undefined && points < options.failUnder) process.exitCode = EXIT_BELOW;
}

function writtenText({ files, notes, passwordFile, advice }: NonNullable<AdviceDocument['written']>): string {
  const account = passwordFile === null ? [] : [`the password of the new account is in ${passwordFile}`];
  const lines = [`wrote ${files.join(', ')}`, ...notes, ...account].map(plain);
  return `\n${lines.join('\n')}\n\n${adviceText(advice)}\n`;
}

/** Adds `muster secure advise` to `muster secure`. */
export function addAdviseCommand(secure: Command): void {
  secure
    .command('advise')
    .description('score a configuration of Mosquitto, say what to mend and why, and write a better one')
    .argument('<file>', 'mosquitto.conf')
    .option('--write <dir>', 'write a configuration without what was found into this folder')
    .option('--force', 'replace files that are in that folder', false)
    .option('--ca <file>', 'PEM file of the authority, for --write')
    .option('--certificate <file>', 'PEM file of the certificate of the broker, for --write')
    .option('--key <file>', 'PEM file of its key, for --write')
    .option(
      '--fail-under <score>',
      'exit with 1 where the score (with --write the new one) is below',
      wholeNumber(0, 100),
    )
    .option('--json', 'print JSON on standard output', false)
    .action(async (file: string, options: AdviseOptions) => {
      try {
        await advise(file, options);
      } catch (error) {
        if (error instanceof AdvisorError) throw new UsageError(error.message, { cause: error });
        throw error;
      }
    });
}
