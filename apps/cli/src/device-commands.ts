import {
  decommissionReportSchema,
  devicePageSchema,
  deviceSchema,
  type DecommissionReport,
  type Device,
  type DevicePage,
  type LastReading,
} from '@muster/contract';
import { callApi, type ApiTarget } from './api-client.ts';

/** How a command answers: for people, or as JSON. */
export interface OutputOptions {
  readonly json: boolean;
}

function write(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Text of a device for a terminal: control characters could move the cursor or do worse. */
export function plain(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '\uFFFD');
}

function valueOf({ value, unit }: LastReading): string {
  return unit === null ? String(value) : `${value} ${unit}`;
}

/** Rows under headings, columns as wide as their widest cell. */
export function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [headings, ...rows.map((row) => row.map(plain))];
  const widths = headings.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** `muster device ls`: every device, page after page. */
export async function listDevices(
  target: ApiTarget,
  filter: { readonly presence?: string; readonly state?: string },
  output: OutputOptions,
): Promise<void> {
  const devices: Device[] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const query = new URLSearchParams({ limit: '1000', ...filter, ...(cursor === undefined ? {} : { cursor }) });
    const page: DevicePage = await callApi(target, 'GET', `/devices?${query.toString()}`, devicePageSchema);
    devices.push(...page.items);
    cursor = page.next;
  }
  if (output.json) {
    write(JSON.stringify(devices));
    return;
  }
  if (devices.length === 0) {
    write('No devices. They appear by themselves when they are first heard.');
    return;
  }
  write(
    table(
      ['DEVICE', 'PRESENCE', 'REASON', 'SINCE', 'LAST VALUES'],
      devices.map(({ id, presence, readings }) => [
        id,
        presence.state,
        presence.reason,
        presence.since ?? '-',
        Object.entries(readings)
          .map(([metric, reading]) => `${metric} ${valueOf(reading)}`)
          .join(', ') || '-',
      ]),
    ),
  );
}

/** `muster device show`: one device with presence, evidence and readings. */
export async function showDevice(target: ApiTarget, id: string, output: OutputOptions): Promise<void> {
  const device = await callApi(target, 'GET', `/devices/${encodeURIComponent(id)}`, deviceSchema);
  if (output.json) {
    write(JSON.stringify(device));
    return;
  }
  const { presence } = device;
  write(`${device.id}  ${device.state}${device.name === null ? '' : `  ${plain(device.name)}`}`);
  write(
    `presence   ${presence.state} (${presence.reason})${presence.since === null ? '' : ` since ${presence.since}`}`,
  );
  write(`           ${presence.explanation}`);
  if (presence.evidence !== null) {
    const { topic, payload, broker, rule } = presence.evidence;
    write(`evidence   ${plain(topic)} on ${broker}: ${plain(payload)}`);
    write(`           ${rule}`);
  }
  write(`last seen  ${device.lastSeenAt ?? 'never'}`);
  const readings = Object.entries(device.readings);
  if (readings.length > 0) {
    write('');
    write(
      table(
        ['METRIC', 'VALUE', 'AT'],
        readings.map(([metric, reading]) => [metric, valueOf(reading), reading.at]),
      ),
    );
  }
}

/** `muster decommission`: the report; answers whether it is verified. */
export async function decommissionDevice(target: ApiTarget, id: string, output: OutputOptions): Promise<boolean> {
  const report: DecommissionReport = await callApi(
    target,
    'POST',
    `/devices/${encodeURIComponent(id)}/decommission`,
    decommissionReportSchema,
  );
  if (output.json) {
    write(JSON.stringify(report));
    return report.state === 'verified';
  }
  write(`${report.device}: ${report.state}${report.verifiedAt === null ? '' : ` at ${report.verifiedAt}`}`);
  if (report.cleared.length > 0) {
    write(
      table(
        ['BROKER', 'CLEARED', 'BYTES', 'AT'],
        report.cleared.map(({ broker, topic, bytes, clearedAt }) => [broker, topic, String(bytes), clearedAt]),
      ),
    );
  } else write('no retained message was found');
  for (const { broker, topic } of report.after) write(`still there: ${plain(topic)} on ${broker}`);
  for (const { topic, owner } of report.kept) write(`kept: ${plain(topic)}, which ${owner} owns as well`);
  for (const line of report.notDone) write(`not done: ${line}`);
  return report.state === 'verified';
}
