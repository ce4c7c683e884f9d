import { createHash } from 'node:crypto';
import type { DecommissionReport, DecommissionStep } from '@muster/contract';

const STYLE = `
:root { color-scheme: light; --ink: #1b2430; --soft: #5b6675; --line: #d5dbe3; --good: #14693a; --open: #8a4b00; }
* { box-sizing: border-box; }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: #fff; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2rem 0 .4rem; }
p { margin: .3rem 0; }
.soft { color: var(--soft); }
.state { display: inline-block; margin-top: .5rem; padding: .15rem .7rem; border: 2px solid currentColor; border-radius: 1rem; font-weight: 600; }
.good { color: var(--good); }
.open { color: var(--open); }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
time, td.time, td.name { white-space: nowrap; }
.wide { overflow-x: auto; }
code { font: 12px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
ul { margin: .3rem 0; padding-left: 1.2rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .3rem 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; font-size: 9px; } code { font-size: 8px; } .wide { overflow: visible; } thead { display: table-header-group; } tr { break-inside: avoid; } }
@page { margin: 15mm; }
`;

/** What the page may do: nothing but to show its own style. */
export const REPORT_PAGE_POLICY = `default-src 'none'; style-src 'sha256-${createHash('sha256').update(STYLE).digest('base64')}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`;

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Topics are whatever somebody published to; also control and direction characters must not change what is read. */
function escaped(text: string): string {
  return text
    .replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, '\uFFFD')
    .replace(/[&<>"']/g, (character) => ENTITIES[character] ?? '');
}

function time(at: string | null): string {
  if (at === null) return '<span class="soft">–</span>';
  return `<time datetime="${escaped(at)}">${escaped(at.replace('T', ' ').replace(/Z$/, ' UTC'))}</time>`;
}

interface Column {
  readonly heading: string;
  readonly kind?: 'number' | 'time' | 'name';
}

/** Cells are HTML. */
function table(columns: readonly Column[], rows: readonly (readonly string[])[], empty: string): string {
  if (rows.length === 0) return `<p class="soft">${escaped(empty)}</p>`;
  const kind = (index: number): string => {
    const { kind: name } = columns[index] ?? {};
    return name === undefined ? '' : ` class="${name}"`;
  };
  const head = columns.map(({ heading }, index) => `<th scope="col"${kind(index)}>${escaped(heading)}</th>`).join('');
  const body = rows
    .map((row) => `<tr>${row.map((cell, index) => `<td${kind(index)}>${cell}</td>`).join('')}</tr>`)
    .join('\n');
  return `<div class="wide"><table><thead><tr>${head}</tr></thead><tbody>\n${body}\n</tbody></table></div>`;
}

const STEP_TEXT: Readonly<Record<DecommissionStep['name'], string>> = {
  tombstone: 'Tombstone: nobody takes the device for a new one',
  services: 'Services refuse what still comes from it',
  account: 'Account taken away on every broker',
  session: 'Session ended, with what was queued in it',
  clear: 'Retained messages cleared',
  verify: 'Verified over fresh connections',
  save: 'Brokers wrote that to disk',
  'verify-again': 'Verified again after that',
};

const STATE_TEXT: Readonly<Record<DecommissionReport['state'], string>> = {
  incomplete: 'Not verified yet',
  verified: 'Verified: no broker holds anything of it',
  done: 'Done: verified, and again after every broker had written that to disk',
};

function steps(report: DecommissionReport): string {
  return table(
    [
      { heading: 'Step' },
      { heading: 'State' },
      { heading: 'Begun', kind: 'time' },
      { heading: 'Finished', kind: 'time' },
    ],
    report.steps.map(({ name, state, startedAt, finishedAt, waitsFor }) => [
      escaped(STEP_TEXT[name]),
      `<span class="${state === 'waiting' ? 'open' : 'good'}">${state}</span>${waitsFor.map((line) => `<br><span class="soft">${escaped(line)}</span>`).join('')}`,
      time(startedAt),
      time(finishedAt),
    ]),
    'No step is known.',
  );
}

function account({ account: { state, version, revocation } }: DecommissionReport): string {
  const text = {
    revoked: `Taken away with version ${version ?? '–'} of the accounts.`,
    none: 'It had no account of its own.',
    external: 'The brokers have their accounts elsewhere: it must be taken away there.',
  }[state];
  const trial = {
    refused: 'Tried for real: let in with a password made for this, then refused with the same one.',
    'not-applicable': `Revocation: not applicable (${revocation.reason ?? 'nothing to try'}).`,
    external: 'Not tried: the accounts are not in our hands.',
    'not-tried': 'Not tried on every broker.',
  }[revocation.state];
  const tried = table(
    [
      { heading: 'Broker', kind: 'name' },
      { heading: 'Let in', kind: 'time' },
      { heading: 'Refused', kind: 'time' },
      { heading: 'Reason code', kind: 'number' },
    ],
    revocation.brokers.map(({ broker, acceptedAt, at, reasonCode }) => [
      escaped(broker),
      time(acceptedAt),
      time(at),
      `${reasonCode} (0x${reasonCode.toString(16)})`,
    ]),
    'No connection was tried.',
  );
  return `<p>${escaped(text)}</p><p>${escaped(trial)}</p>${tried}`;
}

function session({ session: { state, clientId, reason }, sessions }: DecommissionReport): string {
  const where = sessions.length === 0 ? 'on no broker' : `on ${sessions.join(', ')}`;
  const text = {
    ended: `Ended ${where}${clientId === null ? '' : `, by the client id ${clientId}`}.`,
    waiting: `Ended ${where} so far.`,
    'not-purged': `Not purged: ${reason ?? 'its client id is unknown'}.`,
  }[state];
  return `<p>${escaped(text)}</p>`;
}

function messages(report: DecommissionReport): string {
  const place = (one: { broker: string; topic: string }): string => JSON.stringify([one.broker, one.topic]);
  const exact = (one: { broker: string; topic: string; sha256: string }): string =>
    JSON.stringify([one.broker, one.topic, one.sha256]);
  // Reports of earlier versions have a topic as often as it was found.
  const cleared = new Map([...report.cleared].reverse().flatMap((one) => [place, exact].map((key) => [key(one), one])));
  return table(
    [
      { heading: 'Broker', kind: 'name' },
      { heading: 'Topic' },
      { heading: 'Bytes', kind: 'number' },
      { heading: 'SHA-256' },
      { heading: 'Cleared', kind: 'time' },
      { heading: 'Reason code', kind: 'number' },
    ],
    report.before.map((one) => {
      const done = cleared.get(exact(one)) ?? cleared.get(place(one));
      return [
        escaped(one.broker),
        `<code>${escaped(one.topic)}</code>`,
        String(one.bytes),
        `<code>${escaped(one.sha256)}</code>`,
        `${time(done?.clearedAt ?? null)}${done?.again === undefined ? '' : `<br><span class="soft">again ${done.again.times} ×, last</span> ${time(done.again.lastAt)}`}`,
        done === undefined ? '–' : String(done.reasonCode),
      ];
    }),
    'No retained message was found.',
  );
}

function signature({ signature: signed }: DecommissionReport): string {
  if (signed === null) return '<p class="soft">Not signed: a report is signed when it is verified.</p>';
  return `<dl><dt>Algorithm</dt><dd>${signed.algorithm}, over the canonical JSON (RFC 8785) of the report</dd>
<dt>Key</dt><dd><code>${escaped(signed.keyId)}</code></dd>
<dt>Signature</dt><dd><code>${escaped(signed.value)}</code></dd></dl>
<p class="soft">It is the JSON report that is signed: <code>muster decommission verify REPORT.json --key KEY.pem</code> checks it.</p>`;
}

/** A report as a page for people: complete in itself, printable, without a script. */
export function reportPage(report: DecommissionReport): string {
  const { device, state, requestedAt, verifiedAt, doneAt } = report;
  const list = (lines: readonly string[]): string =>
    `<ul>${lines.map((line) => `<li>${escaped(line)}</li>`).join('')}</ul>`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Decommissioning of ${escaped(device)}</title>
<style>${STYLE}</style>
</head>
<body>
<header>
<p class="soft">Muster · proof of decommissioning</p>
<h1>${escaped(device)}</h1>
<p class="state ${state === 'incomplete' ? 'open' : 'good'}">${STATE_TEXT[state]}</p>
<dl><dt>Requested</dt><dd>${time(requestedAt)}</dd><dt>Verified</dt><dd>${time(verifiedAt)}</dd><dt>Done</dt><dd>${time(doneAt)}</dd></dl>
</header>
<main>
<h2>Steps</h2>
${steps(report)}
${report.notDone.length === 0 ? '' : `<h2>Not done</h2>${list(report.notDone)}`}
<h2>Brokers</h2>
${table(
  [
    { heading: 'Broker', kind: 'name' },
    { heading: 'Nothing left', kind: 'time' },
    { heading: 'Written to disk', kind: 'time' },
    { heading: 'Still nothing left', kind: 'time' },
  ],
  report.verification.map(({ broker, at, savedAt, againAt }) => [
    escaped(broker),
    time(at),
    time(savedAt),
    time(againAt),
  ]),
  'No broker is verified yet.',
)}
<h2>Account</h2>
${account(report)}
<h2>Session</h2>
${session(report)}
<h2>Services</h2>
${table(
  [{ heading: 'Service' }, { heading: 'Refuses it' }],
  report.services.map(({ service, applied }) => [escaped(service), applied ? 'yes' : 'not yet']),
  'No service has said anything yet.',
)}
<h2>Retained messages before</h2>
${messages(report)}
<h2>Retained messages after</h2>
${report.after.length === 0 ? `<p>${state === 'incomplete' ? 'Not verified yet.' : 'None.'}</p>` : list(report.after.map(({ broker, topic }) => `${topic} on ${broker}`))}
${report.kept.length === 0 ? '' : `<h2>Kept</h2>${list(report.kept.map(({ topic, owner }) => `${topic}, which ${owner} owns as well`))}`}
<h2>Looked for under</h2>
${list(report.filters)}
<h2>Signature</h2>
${signature(report)}
</main>
</body>
</html>
`;
}
