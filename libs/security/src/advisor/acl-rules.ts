import { isBoundToClient, isServiceAccount, isWholesale, reachesMuster, type Grant } from './access-list.ts';
import { settingOf } from './configuration.ts';
import type { Match, Rule } from './rule.ts';
import { accessScopes, accessSettings, anonymousAccess, grantsOf, namedFile, type Subject } from './subject.ts';

/** One match for each grant that a rule is about; the same file in two scopes counts once. */
function grants(
  subject: Subject,
  says: (grant: Grant) => string | undefined,
  fix: readonly string[],
): readonly Match[] {
  const matches = accessScopes(subject.configuration)
    .flatMap((scope) => grantsOf(subject, scope))
    .filter(({ access }) => access !== 'deny')
    .flatMap((grant) => {
      const title = says(grant);
      return title === undefined ? [] : [{ place: grant.place, title, fix }];
    });
  return [...new Map(matches.map((match) => [`${match.place.file}:${match.place.line}`, match])).values()];
}

/** Rules on what an ACL file grants. */
export const aclRules: readonly Rule[] = [
  {
    id: 'acl-refused',
    severity: 'critical',
    points: 15,
    cap: 15,
    why: 'Mosquitto does not start, and after a reload refuses everything, with an ACL line that it does not understand.',
    check: (subject) =>
      accessSettings(subject, ['acl_file']).flatMap((setting) =>
        (namedFile(subject, setting)?.accessList?.refused ?? []).map((place) => ({
          place,
          title: 'this line of the ACL file is not understood',
          fix: ['user NAME', 'topic read|write|readwrite|deny FILTER', 'pattern read|write|readwrite|deny FILTER'],
        })),
      ),
  },
  {
    id: 'acl-wildcard',
    severity: 'high',
    points: 10,
    cap: 20,
    why: 'The grant reaches over the topics of every device, now and in future, so the ACL protects nothing from this client.',
    check: (subject) =>
      grants(
        subject,
        ({ to, filter }) => {
          if (!isWholesale(filter) || to.kind === 'anonymous') return undefined;
          return to.kind === 'everybody'
            ? `every account may use ${filter}`
            : `the account ${to.username} may use ${filter}`;
        },
        ['pattern readwrite devices/%u/#'],
      ),
  },
  {
    id: 'acl-anonymous',
    severity: 'high',
    points: 8,
    cap: 16,
    why: 'Grants above the first user line are those of clients without an account.',
    check: (subject) => {
      const isAllowed = accessScopes(subject.configuration).some((scope) => anonymousAccess(subject, scope).allowed);
      if (!isAllowed) return [];
      return grants(
        subject,
        ({ to, filter }) => (to.kind === 'anonymous' ? `anonymous clients may use ${filter}` : undefined),
        ['user NAME', 'above the topic line'],
      );
    },
  },
  {
    id: 'acl-without-user',
    severity: 'low',
    points: 1,
    cap: 2,
    why: 'Grants above the first user line are for anonymous clients, of which there are none: they do nothing today, and open the broker the day that allow_anonymous is set.',
    check: (subject) => {
      const isAllowed = accessScopes(subject.configuration).some((scope) => anonymousAccess(subject, scope).allowed);
      if (isAllowed) return [];
      return grants(
        subject,
        ({ to, filter }) => (to.kind === 'anonymous' ? `${filter} is granted above the first user line` : undefined),
        ['user NAME', 'above the topic line'],
      );
    },
  },
  {
    id: 'acl-sys',
    severity: 'medium',
    points: 4,
    cap: 4,
    why: '$SYS tells the version, load and, with log_dest topic, the client ids and addresses of all clients.',
    check: (subject) =>
      grants(
        subject,
        ({ to, filter }) =>
          filter.startsWith('$SYS') && to.kind !== 'account' ? `everybody may read ${filter}` : undefined,
        ['user muster', 'topic read $SYS/#'],
      ),
  },
  {
    id: 'acl-muster',
    severity: 'high',
    points: 8,
    cap: 16,
    why: 'Under muster/ the services talk with each other: a device that writes there can feed them what it likes.',
    check: (subject) =>
      grants(
        subject,
        ({ to, filter }) => {
          const isService = to.kind === 'account' && isServiceAccount(to.username);
          return reachesMuster(filter) && !isService
            ? `${filter} is granted to others than Muster's services`
            : undefined;
        },
        ['user muster', 'topic readwrite muster/#'],
      ),
  },
  {
    id: 'acl-pattern-for-all',
    severity: 'medium',
    points: 4,
    cap: 8,
    why: 'A pattern without %u or %c is the same topic for every client: each device may act for all others.',
    check: (subject) =>
      grants(
        subject,
        ({ to, filter }) =>
          to.kind === 'everybody' && !isBoundToClient(filter) && !isWholesale(filter) && !filter.startsWith('$SYS')
            ? `the pattern ${filter} names neither %u nor %c`
            : undefined,
        ['pattern readwrite devices/%u/#'],
      ),
  },
  {
    id: 'acl-by-client-id',
    severity: 'medium',
    points: 3,
    cap: 3,
    why: 'A client chooses its client id itself, so with %c alone it chooses which device it may act for.',
    check: (subject) =>
      accessScopes(subject.configuration).every(({ listeners }) =>
        listeners.every(({ settings }) => settingOf(settings, 'use_username_as_clientid') !== undefined),
      )
        ? []
        : grants(
            subject,
            ({ filter }) =>
              filter.includes('%c') && !filter.includes('%u') ? `${filter} is bound to the client id alone` : undefined,
            ['%u in place of %c'],
          ),
  },
];
