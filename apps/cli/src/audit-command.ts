import {
  auditPageSchema,
  auditVerificationSchema,
  type AuditEntry,
  type AuditPage,
  type AuditVerification,
} from '@muster/contract';
import type { Command } from 'commander';
import { callApi, type ApiTarget } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { wholeNumber } from './arguments.ts';
import { EXIT_FAILURE, say, table, waitingFor, write, type OutputOptions } from './output.ts';

const MAX_PAGE = 1_000;

interface AuditOptions extends OutputOptions {
  readonly subject?: string;
  readonly actor?: string;
  readonly limit: number;
  readonly verify: boolean;
}

async function entriesOf(target: ApiTarget, { subject, actor, limit }: AuditOptions): Promise<readonly AuditEntry[]> {
  const entries: AuditEntry[] = [];
  for (let cursor: string | null | undefined; cursor !== null && entries.length < limit;) {
    const query = new URLSearchParams({
      limit: String(Math.min(MAX_PAGE, limit - entries.length)),
      ...(subject === undefined ? {} : { subject }),
      ...(actor === undefined ? {} : { actor }),
      ...(cursor === undefined ? {} : { cursor }),
    });
    const page: AuditPage = await callApi(target, 'GET', `/audit?${query.toString()}`, auditPageSchema);
    entries.push(...page.items);
    cursor = page.next;
  }
  return entries;
}

/** What was found, as a sentence. */
export function verificationText({ entries, head, broken }: AuditVerification): string {
  const counted = entries === 1 ? '1 entry' : `${entries} entries`;
  if (broken === null) return `${counted}, each as it was written; the hash of the last is ${head}`;
  return `broken at entry ${broken.id}: ${broken.why}; the ${counted} before are as they were written`;
}

/** Adds `muster audit` to the command line. */
export function addAuditCommand(muster: Command): void {
  withApi(muster.command('audit').description('who changed what through the API, the newest first'))
    .option('--subject <id>', 'only about this device, rule, token, …')
    .option('--actor <name>', 'only what this token did')
    .option('--limit <entries>', 'so many at most', wholeNumber(1, 1_000_000), 100)
    .option('--verify', 'go through the whole log: is it as it was written?', false)
    .action(async (options: AuditOptions, command: Command) => {
      const target = apiTarget(command);
      if (options.verify) {
        const asked = callApi(target, 'GET', '/audit/verify', auditVerificationSchema);
        const found = await waitingFor('going through the audit log', asked);
        write(options.json ? JSON.stringify(found) : verificationText(found));
        if (found.broken !== null) process.exitCode = EXIT_FAILURE;
        return;
      }
      const entries = await entriesOf(target, options);
      if (options.json) write(JSON.stringify(entries));
      else if (entries.length === 0) say('Nothing is on record.');
      else
        write(
          table(
            ['ENTRY', 'AT', 'WHO', 'ACTION', 'SUBJECT', 'OUTCOME'],
            entries.map(({ id, at, actor, action, subject, outcome, status, begun }) => [
              ...[String(id), at, actor ?? '-', action, subject ?? '-'],
              [outcome, ...(status === null ? [] : [String(status)]), ...(begun === null ? [] : [`of ${begun}`])].join(
                ' ',
              ),
            ]),
          ),
        );
    });
}
