import { incidentPageSchema } from '@muster/contract';
import type { Command } from 'commander';
import { callApi } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { wholeNumber } from './arguments.ts';
import { say, table, write, type OutputOptions } from './output.ts';

/** Adds `muster incidents` to the command line. */
export function addIncidentCommand(muster: Command): void {
  withApi(
    muster
      .command('incidents')
      .description('brokers that were lost or started anew, and what became of their devices, the newest first')
      .option('--limit <number>', 'at most so many', wholeNumber(1, 1_000), 20),
  ).action(async ({ limit, json }: OutputOptions & { limit: number }, command: Command) => {
    const page = await callApi(apiTarget(command), 'GET', `/incidents?limit=${limit}`, incidentPageSchema);
    if (json) {
      write(JSON.stringify(page));
      return;
    }
    if (page.items.length === 0) {
      say('no broker has been lost while devices were connected to it');
      return;
    }
    write(
      table(
        ['BROKER', 'WHAT', 'FROM', 'UNTIL', 'DEVICES', 'NOT BACK'],
        page.items.map(({ broker, kind, from, until, devices, lost }) => [
          ...[broker, kind, from, until ?? 'it lasts', String(devices), lost === null ? '-' : String(lost)],
        ]),
      ),
    );
    if (page.next !== null) say('(there are older ones: --limit shows more)');
  });
}
