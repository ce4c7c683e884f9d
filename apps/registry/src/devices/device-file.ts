import {
  importedDeviceSchema,
  MAX_IMPORT_ROWS,
  type DeviceFileFormat,
  type ExportedDevice,
  type ImportedDevice,
  type ImportFault,
} from '@muster/contract';
import { ProblemError } from '@muster/service';
import { CsvError, parse, type InfoRecord } from 'csv-parse/sync';
import { stringify } from 'csv-stringify/sync';

/** One row of a file: a device, or why it is none. */
export type FileRow =
  | { readonly line: number; readonly device: ImportedDevice }
  | { readonly line: number; readonly faults: readonly ImportFault[] };

const COLUMNS = [
  ...['id', 'name', 'description', 'tags', 'groups'],
  ...['state', 'presence', 'model', 'firmware', 'broker'],
] as const satisfies readonly (keyof ExportedDevice)[];
const LISTS: ReadonlySet<string> = new Set(['tags', 'groups']);

/** What a spreadsheet would take for a formula (OWASP, CSV injection), and what we have put a ' before already. */
const FORMULA = /^'*[=+\-@\t\r]/;

/** A text that no spreadsheet calculates: it gets a ' in front. */
export function harmlessCell(text: string): string {
  return FORMULA.test(text) ? `'${text}` : text;
}

/** The text that {@link harmlessCell} was given. */
export function originalCell(cell: string): string {
  return cell.startsWith("'") && FORMULA.test(cell.slice(1)) ? cell.slice(1) : cell;
}

/** The beginning of an exported file, before its first device. */
export function fileHead(format: DeviceFileFormat): string {
  return format === 'csv' ? stringify([[...COLUMNS]]) : '[';
}

/** Devices of an exported file, in their order; `isFirst` where none stands before them. */
export function fileRows(format: DeviceFileFormat, devices: readonly ExportedDevice[], isFirst: boolean): string {
  if (format === 'json')
    return devices.map((device, index) => `${isFirst && index === 0 ? '' : ','}\n${JSON.stringify(device)}`).join('');
  return stringify(
    devices.map((device) =>
      COLUMNS.map((column) => {
        const value = device[column];
        return harmlessCell(Array.isArray(value) ? value.join(' ') : (value ?? ''));
      }),
    ),
  );
}

/** Its end. */
export function fileTail(format: DeviceFileFormat): string {
  return format === 'csv' ? '' : '\n]\n';
}

/**
 * The rows of a file of devices, each checked; an id that stands twice is a fault of its second row.
 * @throws ProblemError 422 where the file as a whole cannot be read
 */
export function readDeviceFile(format: DeviceFileFormat, bytes: Uint8Array): readonly FileRow[] {
  const text = decoded(bytes);
  const rows = format === 'csv' ? csvRows(text) : jsonRows(text);
  const lineOf = new Map<string, number>();
  return rows.map((row) => {
    if (!('device' in row)) return row;
    const earlier = lineOf.get(row.device.id);
    if (earlier !== undefined) return faulty(row.line, 'id', `${row.device.id} stands in line ${earlier} already`);
    lineOf.set(row.device.id, row.line);
    return row;
  });
}

function decoded(bytes: Uint8Array): string {
  try {
    // Leaves a byte order mark out.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ProblemError(422, 'the file is not UTF-8; save it as UTF-8 ("CSV UTF-8" in a spreadsheet)');
  }
}

function faulty(line: number, path: string, message: string): FileRow {
  return { line, faults: [{ line, path, message }] };
}

function checkedRow(line: number, value: unknown): FileRow {
  const parsed = importedDeviceSchema.safeParse(value);
  if (parsed.success) return { line, device: parsed.data };
  return {
    line,
    faults: parsed.error.issues.map(({ path, message }) => ({ line, path: path.map(String).join('.'), message })),
  };
}

function refuseTooMany(rows: number): void {
  if (rows > MAX_IMPORT_ROWS)
    throw new ProblemError(
      422,
      `the file has ${rows} devices, and at most ${MAX_IMPORT_ROWS} are taken at a time; divide it`,
    );
}

interface CsvRecord {
  readonly line: number;
  readonly cells: readonly string[];
}

/** Records with the line in which each begins. A comma divides cells; where the heading has none, a semicolon or a tab. */
function csvRecords(text: string): readonly CsvRecord[] {
  const heading = text.slice(0, text.search(/[\r\n]|$/));
  const delimiter = [',', ';', '\t'].find((sign) => heading.includes(sign)) ?? ',';
  try {
    const options = { delimiter, info: true, relax_column_count: true, skip_empty_lines: true };
    // Its types know of `info` only together with `columns`.
    const records = parse(text, options) as unknown as readonly { info: InfoRecord; record: readonly string[] }[];
    // Of a line break inside a cell that has two characters the parser counts both.
    let countedTwice = 0;
    return records.map(({ info, record: cells }) => {
      const inside = cells.join('').match(/[\r\n]/g)?.length ?? 0;
      const line = info.lines - inside - countedTwice;
      countedTwice += cells.join('').match(/\r\n/g)?.length ?? 0;
      return { line, cells };
    });
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    throw new ProblemError(422, `the file is not CSV: ${error.message}; nothing was imported`);
  }
}

function csvRows(text: string): readonly FileRow[] {
  const [heading, ...records] = csvRecords(text);
  const columns = (heading?.cells ?? []).map((cell) => cell.trim().toLowerCase());
  const known: ReadonlySet<string> = new Set(COLUMNS);
  const unknown = columns.filter((column) => !known.has(column));
  if (!columns.includes('id') || unknown.length > 0 || new Set(columns).size < columns.length)
    throw new ProblemError(
      422,
      `line 1: expected a heading with the column id and others of ${COLUMNS.slice(1).join(', ')}, each once; found ${JSON.stringify(columns.join(',').slice(0, 200))}`,
    );
  refuseTooMany(records.length);
  return records.map(({ line, cells }) => {
    if (cells.length !== columns.length)
      return faulty(line, '', `it has ${cells.length} cells, and the heading has ${columns.length}`);
    return checkedRow(
      line,
      Object.fromEntries(columns.map((column, index) => [column, cellValue(column, cells[index])])),
    );
  });
}

function cellValue(column: string, cell = ''): unknown {
  const text = originalCell(cell);
  if (LISTS.has(column)) return text.split(/[\s,;]+/).filter((word) => word !== '');
  return column !== 'id' && text.trim() === '' ? null : text;
}

function jsonRows(text: string): readonly FileRow[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new ProblemError(422, `the file is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!Array.isArray(value)) throw new ProblemError(422, 'expected a JSON array of devices, as an export has it');
  refuseTooMany(value.length);
  const lines = elementLines(text);
  return value.map((element, index) => checkedRow(lines[index] ?? 1, element));
}

/** The line in which each element of a JSON array begins. The text is JSON: only strings, brackets and commas matter. */
export function elementLines(text: string): readonly number[] {
  const lines: number[] = [];
  let line = 1;
  let depth = 0;
  let isAwaited = false;
  for (let at = 0; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === '\n') line += 1;
    if (/\s/.test(character)) continue;
    if (depth === 1 && character === ']') return lines;
    if (isAwaited) lines.push(line);
    isAwaited = (character === '[' && depth === 0) || (character === ',' && depth === 1);
    if (character === '"') for (at += 1; text.charAt(at) !== '"'; at += 1) if (text.charAt(at) === '\\') at += 1;
    if (character === '[' || character === '{') depth += 1;
    if (character === ']' || character === '}') depth -= 1;
  }
  return lines;
}
