import { isBoundToClient, isServiceAccount, isWholesale, reachesMuster, type Grant } from './access-list.ts';

/** The account that is written where a configuration has none. */
export const MUSTER_ACCOUNT = 'muster';

/** First levels of the topics of Muster's contract with devices. */
const NAMESPACES = ['devices', 'home', 'iotclass'];
const DEVICE_WRITES = ['status', 'lwt', 'info', 'telemetry', 'ack'];
const DEVICE_READS = ['config', 'command'];

const DEVICE_LINES = [
  '# Every device: its own topics, under the name of its account.',
  ...DEVICE_WRITES.map((topic) => `pattern write devices/%u/${topic}`),
  ...DEVICE_READS.map((topic) => `pattern read devices/%u/${topic}`),
  'pattern write iotclass/%u/temperature',
  'pattern write iotclass/%u/humidity',
  'pattern write iotclass/%u/status',
  'pattern read iotclass/%u/command',
];

/** A file of access and what in it is no longer as it was, in sentences. */
export interface MendedAccess {
  readonly text: string;
  readonly notes: readonly string[];
}

function serviceLines(username: string): readonly string[] {
  const grants = [...NAMESPACES, 'muster'].map((namespace) => `topic readwrite ${namespace}/#`);
  return [`user ${username}`, ...grants, 'topic read $SYS/#'];
}

/** An ACL file where there was none: Muster's account, what other accounts share, and each device's own topics. */
export function newAccessList(usernames: readonly string[]): MendedAccess {
  const others = usernames.filter((username) => !isServiceAccount(username));
  const services = [MUSTER_ACCOUNT, ...usernames.filter((username) => isServiceAccount(username))];
  const lines = [
    "# Muster's services.",
    ...[...new Set(services)].flatMap((username) => [...serviceLines(username), '']),
    ...others.flatMap((username) => [`user ${username}`, 'topic readwrite home/#', '']),
    ...DEVICE_LINES,
  ];
  const notes =
    others.length === 0
      ? []
      : [
          `there was no ACL, so ${listed(others)} could use every topic; now they use home/# and their own devices/… and iotclass/…: add lines to the ACL for other topics`,
        ];
  return { text: `${lines.join('\n')}\n`, notes };
}

function listed(names: readonly string[]): string {
  const shown = names.slice(0, 5).join(', ');
  return names.length > 5 ? `${shown} and ${names.length - 5} more accounts` : shown;
}

interface Line {
  /** Undefined for a pattern. */
  readonly username: string | undefined;
  readonly text: string;
}

/**
 * An ACL file without grants that reach too far. Each account keeps what it had by name; wildcards over everything
 * become the namespaces of Muster's contract and those that the file itself names.
 */
export function mendAccessList(grants: readonly Grant[], usernames: readonly string[]): MendedAccess {
  const named = grants
    .map(({ filter }) => filter.split('/')[0] ?? '')
    .filter((level) => /^[A-Za-z0-9_-]+$/.test(level));
  const namespaces = [...new Set([...NAMESPACES, ...named])].filter((level) => level !== 'muster');
  const notes = new Set<string>();
  const lines = grants.flatMap((grant): readonly Line[] => mendGrant(grant, usernames, namespaces, notes));
  const needsDeviceLines = grants.some(({ to, filter }) => to.kind === 'everybody' && isWholesale(filter));
  return { text: render(lines, needsDeviceLines ? DEVICE_LINES : []), notes: [...notes] };
}

function mendGrant(
  { to, access, filter: given }: Grant,
  usernames: readonly string[],
  namespaces: readonly string[],
  notes: Set<string>,
): readonly Line[] {
  const filter = given.includes('%u') ? given : given.replaceAll('%c', '%u');
  if (filter !== given) notes.add(`${given} in the ACL is bound to the account now, in place of the client id`);
  const line = (username: string | undefined, text = filter): Line => ({
    username,
    text: `${username === undefined ? 'pattern' : 'topic'} ${access} ${text}`,
  });
  if (access === 'deny' && to.kind !== 'anonymous') return [line(to.kind === 'account' ? to.username : undefined)];
  switch (to.kind) {
    case 'anonymous':
      notes.add(`${filter} was granted to anonymous clients, and is left out of the ACL`);
      return [];
    case 'everybody':
      if (isWholesale(filter)) {
        notes.add(`the pattern ${filter} of the ACL became the topics of each device`);
        return [];
      }
      if (filter.startsWith('$SYS') || reachesMuster(filter)) {
        notes.add(`${filter} was granted to everybody, and is left out of the ACL`);
        return [];
      }
      // The same for every account that there is, and for nobody without one.
      return isBoundToClient(filter) ? [line(undefined)] : usernames.map((username) => line(username));
    case 'account': {
      const isService = isServiceAccount(to.username);
      if (isWholesale(filter)) {
        const kept = isService ? [...namespaces, 'muster'] : namespaces;
        notes.add(
          `${filter} of the account ${to.username} became ${kept.map((level) => `${level}/…`).join(', ')}: add other topics to the ACL`,
        );
        const rest = filter === '#' ? '/#' : filter.slice(1);
        return kept.map((level) => line(to.username, `${level}${rest}`));
      }
      if (reachesMuster(filter) && !isService) {
        notes.add(`${filter} of the account ${to.username} is left out of the ACL: it is for Muster's services alone`);
        return [];
      }
      return [line(to.username)];
    }
  }
}

/** Patterns stand where they stood; a user line opens each run of lines of one account. */
function render(lines: readonly Line[], tail: readonly string[]): string {
  const written: string[] = [];
  let user: string | undefined;
  for (const { username, text } of lines) {
    if (username !== undefined && username !== user) {
      written.push(`user ${username}`);
      user = username;
    }
    written.push(text);
  }
  return `${[...written, ...tail].join('\n')}\n`;
}
