import { createWriteStream, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { deviceFileFormatSchema, importResultSchema, MAX_IMPORT_BYTES, type DeviceFileFormat } from '@muster/contract';
import { Option, type Command } from 'commander';
import {
  ANSWER_LIMIT_MS,
  ApiError,
  askApi,
  callApi,
  errorOf,
  FileBody,
  sourceBytes,
  type ApiTarget,
} from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { EXIT_FAILURE, plain, say, table, waitingFor, write, type OutputOptions } from './output.ts';
import { UsageError } from './up/settings.ts';

const STANDARD = '-';

interface FileOptions extends OutputOptions {
  readonly format?: DeviceFileFormat;
}

/** The form of a file: as it is said, or as its name ends. */
function namedFormat(file: string, { format }: FileOptions): DeviceFileFormat | undefined {
  return format ?? deviceFileFormatSchema.safeParse(path.extname(file).slice(1).toLowerCase()).data;
}

/** Writes the devices that a search finds into a file; the file is there when it is whole. */
async function exportDevices(
  target: ApiTarget,
  file: string,
  options: FileOptions & { readonly search?: string },
): Promise<void> {
  const format = namedFormat(file, options) ?? (file === STANDARD ? 'json' : undefined);
  if (format === undefined)
    throw new UsageError(`${file} does not end with .json or .csv; --format says which it is to be`);
  const query = new URLSearchParams({ format, ...(options.search === undefined ? {} : { q: options.search }) });
  const answer = await askApi(target, `/devices/export?${query.toString()}`, {
    method: 'GET',
    accept: format === 'csv' ? 'text/csv' : 'application/json',
    signal: AbortSignal.timeout(target.timeoutMs ?? ANSWER_LIMIT_MS),
  });
  // An answer that is no JSON is told by its status alone.
  if (!answer.ok || answer.body === null) throw errorOf(answer, await answer.json().catch(() => undefined));
  const source = Readable.fromWeb(answer.body);
  if (file === STANDARD) {
    await pipeline(source, process.stdout, { end: false });
    return;
  }
  const unfinished = `${file}.part`;
  try {
    const sink = createWriteStream(unfinished);
    await pipeline(source, sink);
    renameSync(unfinished, file);
    write(
      options.json ? JSON.stringify({ file, format, bytes: sink.bytesWritten }) : `${file}: ${sink.bytesWritten} bytes`,
    );
  } catch (error) {
    rmSync(unfinished, { force: true });
    const reason = error instanceof Error ? error.message : String(error);
    throw new ApiError(`${file} could not be written: ${reason}; there is no half of it`, undefined, { cause: error });
  }
}

interface ImportOptions extends FileOptions {
  readonly dryRun: boolean;
  readonly partial: boolean;
}

/** Sends a file of devices, and tells what became of them. */
async function importDevices(target: ApiTarget, file: string, options: ImportOptions): Promise<void> {
  const bytes = sourceBytes('import', file);
  if (bytes.length > MAX_IMPORT_BYTES)
    throw new UsageError(`${file} has more than ${MAX_IMPORT_BYTES / 1_048_576} MiB; divide it`);
  const looksLikeJson = /^\ufeff?\s*\[/.test(bytes.subarray(0, 1_000).toString('utf8'));
  const format = namedFormat(file, options) ?? (looksLikeJson ? 'json' : 'csv');
  const { dryRun, partial } = options;
  const body = new FileBody(format === 'csv' ? 'text/csv' : 'application/json', bytes);
  const query = `preview=${String(dryRun)}&partial=${String(partial)}`;
  const result = await waitingFor(
    `importing ${file}`,
    callApi(target, 'POST', `/devices/import?${query}`, importResultSchema, body, file),
  );
  if (options.json) write(JSON.stringify(result));
  else {
    const { rows, created, updated, unchanged, refused, groupsCreated, faults } = result;
    const would = dryRun ? 'would be ' : '';
    write(
      `${rows} rows: ${created} ${would}created, ${updated} ${would}changed, ${unchanged} unchanged, ${refused} refused`,
    );
    if (groupsCreated.length > 0) write(`groups ${would}made: ${groupsCreated.join(', ')}`);
    if (faults.length > 0)
      write(
        `\n${table(
          ['LINE', 'FIELD', 'FAULT'],
          faults.map((fault) => [String(fault.line), fault.path || '-', plain(fault.message)]),
        )}`,
      );
    if (dryRun) say('nothing was imported');
  }
  if (result.refused > 0) process.exitCode = EXIT_FAILURE;
}

/** Adds `muster device export` and `muster device import` to `muster device`. */
export function addDeviceFileCommands(devices: Command): void {
  const format = (): Option =>
    new Option('--format <format>', 'json or csv, where the name does not tell').choices(
      deviceFileFormatSchema.options,
    );
  withApi(
    devices
      .command('export')
      .description('write devices with their names, tags and groups into a file')
      .argument('<file>', 'a .json or .csv file; - is standard output'),
  )
    .option('--search <text>', 'only those that match, such as "tag:roof"')
    .addOption(format())
    .action(async (file: string, options: FileOptions & { readonly search?: string }, command: Command) => {
      await exportDevices(apiTarget(command), file, options);
    });
  withApi(
    devices
      .command('import')
      .description('register or change the devices of a file: all of them or none')
      .argument('<file>', 'a .json or .csv file such as export writes; - is standard input'),
  )
    .option('--dry-run', 'only show what would be done', false)
    .option('--partial', 'take what can be taken where other rows have faults', false)
    .addOption(format())
    .action(async (file: string, options: ImportOptions, command: Command) => {
      await importDevices(apiTarget(command), file, options);
    });
}
