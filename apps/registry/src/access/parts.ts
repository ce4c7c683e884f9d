import { APP_GUARD } from '@nestjs/core';
import type { Downlink } from '../downlink/downlink.ts';
import type { ApiParts, RegistryContext, RunningParts } from '../registry-context.ts';
import { AccessController } from './access.controller.ts';
import { AccessGuard } from './access.guard.ts';
import { AccountTrials } from './account-trials.ts';
import { Credentials } from './credentials.ts';
import { StandInWill } from './stand-in-will.ts';
import { Tokens } from './tokens.ts';

/** Tokens of the API, and the session of the page. */
export const ACCESS_API: ApiParts = { controllers: [AccessController], injected: [Tokens, Credentials] };

/** Who may use the API, and the accounts of devices at the brokers. */
export interface AccessParts extends RunningParts {
  readonly standInWill: StandInWill;
  readonly credentials: Credentials;
  readonly trials: AccountTrials;
  readonly tokens: Tokens;
}

/** Makes {@link AccessParts}. */
export function accessParts(context: RegistryContext, downlink: Downlink): AccessParts {
  const { configuration, database, accounts, brokers, managed, logger } = context;
  const deviceBrokers = configuration.MUSTER_DEVICE_BROKERS ?? configuration.MUSTER_BROKERS;
  const standInWill = new StandInWill(database, accounts, downlink, logger);
  const credentials = new Credentials(database, accounts, deviceBrokers, managed, logger, (devices, version) =>
    standInWill.follow(devices, version),
  );
  const tokens = new Tokens(database);
  return {
    ...{ standInWill, credentials, tokens },
    trials: new AccountTrials(database, accounts, brokers),
    providers: [
      { provide: APP_GUARD, useClass: AccessGuard },
      { provide: Tokens, useValue: tokens },
      { provide: Credentials, useValue: credentials },
    ],
    stop: [() => standInWill.close()],
  };
}
