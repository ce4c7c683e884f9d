import type { AccessParts } from '../access/parts.ts';
import type { ApiParts, RunningParts, RegistryContext } from '../registry-context.ts';
import { CommandsController } from './commands.controller.ts';
import { Commands } from './commands.ts';
import { ConfigsController } from './configs.controller.ts';
import { Configs } from './configs.ts';
import type { Downlink } from './downlink.ts';
import { ReplacementsController } from './replacements.controller.ts';
import { Replacements } from './replacements.ts';

/** What devices are told: commands, settings, and new hardware in their place. */
export const DOWNLINK_API: ApiParts = {
  controllers: [CommandsController, ConfigsController, ReplacementsController],
  injected: [Commands, Configs, Replacements],
};

/** What tells devices something, over connections that are there already. */
export interface DownlinkParts extends RunningParts {
  readonly start: () => Promise<void>;
}

/** Makes {@link DownlinkParts}. */
export function downlinkParts(context: RegistryContext, downlink: Downlink, access: AccessParts): DownlinkParts {
  const { database, postgresUrl, accounts, brokers, logger, metrics } = context;
  const { credentials, standInWill } = access;
  const commands = new Commands({ database, postgresUrl, downlink, logger, metrics });
  const configs = new Configs({ database, downlink, brokers, logger });
  const replacements = new Replacements({
    ...{ database, accounts, credentials, commands, downlink, standInWill, brokers, logger },
  });
  return {
    providers: [
      { provide: Commands, useValue: commands },
      { provide: Configs, useValue: configs },
      { provide: Replacements, useValue: replacements },
    ],
    start: async () => {
      await commands.start();
      configs.start();
      replacements.start();
    },
    stop: [() => replacements.close(), () => commands.close(), () => configs.close()],
  };
}
