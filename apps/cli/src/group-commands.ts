import { devicePageSchema, groupListSchema, groupSchema, type DevicePage, type Group } from '@muster/contract';
import type { Command } from 'commander';
import { z } from 'zod';
import { callApi, type ApiTarget } from './api-client.ts';
import { apiTarget, withApi } from './api-target.ts';
import { bulkOf, deviceArguments } from './bulk-commands.ts';
import { plain, say, table, write, type OutputOptions } from './output.ts';

async function listGroups(target: ApiTarget, output: OutputOptions): Promise<void> {
  const { items } = await callApi(target, 'GET', '/groups', groupListSchema);
  if (output.json) write(JSON.stringify(items));
  else if (items.length === 0) say('No groups. "muster group create NAME" makes one.');
  else
    write(
      table(
        ['GROUP', 'DEVICES', 'DESCRIPTION'],
        items.map(({ name, devices, description }) => [name, String(devices), description ?? '-']),
      ),
    );
}

/** A group with the ids of its devices. */
async function showGroup(target: ApiTarget, name: string, output: OutputOptions): Promise<void> {
  const group: Group = await callApi(target, 'GET', `/groups/${encodeURIComponent(name)}`, groupSchema);
  const members: string[][] = [];
  for (let cursor: string | null | undefined; cursor !== null;) {
    const query = new URLSearchParams({
      ...{ limit: '1000', q: `group:"${group.name}"` },
      ...(cursor === undefined ? {} : { cursor }),
    });
    const page: DevicePage = await callApi(target, 'GET', `/devices?${query.toString()}`, devicePageSchema);
    members.push(...page.items.map(({ id, presence, name: device }) => [id, presence.state, device ?? '-']));
    cursor = page.next;
  }
  if (output.json) {
    write(JSON.stringify({ ...group, members: members.map(([id]) => id) }));
    return;
  }
  write(`${group.name}${group.description === null ? '' : `  ${plain(group.description)}`}`);
  if (members.length === 0) say('no device is in it; "muster group add" puts some there');
  else write(`\n${table(['DEVICE', 'PRESENCE', 'NAME'], members)}`);
}

/** Adds `muster group …` to the command line. */
export function addGroupCommands(muster: Command): void {
  const groups = muster.command('group').description('groups of devices');
  withApi(groups.command('ls').alias('list').description('list groups')).action(
    async (options: OutputOptions, command: Command) => {
      await listGroups(apiTarget(command), options);
    },
  );
  withApi(groups.command('show').description('show a group and its devices').argument('<group>', 'its name')).action(
    async (name: string, options: OutputOptions, command: Command) => {
      await showGroup(apiTarget(command), name, options);
    },
  );
  withApi(groups.command('create').description('make a group').argument('<group>', 'its name'))
    .option('--description <text>', 'what it is for')
    .action(async (name: string, options: OutputOptions & { readonly description?: string }, command: Command) => {
      const body = { name, ...(options.description === undefined ? {} : { description: options.description }) };
      const group = await callApi(apiTarget(command), 'POST', '/groups', groupSchema, body);
      write(options.json ? JSON.stringify(group) : `${group.name} is made`);
    });
  withApi(
    groups.command('delete').description('remove a group; its devices stay').argument('<group>', 'its name'),
  ).action(async (name: string, options: OutputOptions, command: Command) => {
    await callApi(apiTarget(command), 'DELETE', `/groups/${encodeURIComponent(name)}`, z.undefined());
    write(options.json ? JSON.stringify({ deleted: name }) : `${name} is gone; its devices stay`);
  });
  for (const [verb, action, does] of [
    ['add', 'group', 'put devices into a group'],
    ['remove', 'ungroup', 'take devices out of a group'],
  ] as const) {
    withApi(
      groups
        .command(verb)
        .description(does)
        .argument('<group>', 'its name')
        .argument('<device...>', 'their ids', deviceArguments),
    ).action(async (group: string, ids: readonly string[], options: OutputOptions, command: Command) => {
      await bulkOf(apiTarget(command), [{ action, group, select: { ids } }], options);
    });
  }
}
