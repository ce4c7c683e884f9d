import { readFileSync } from 'node:fs';
import type { BrokerTarget } from '@muster/broker';
import { UsageError } from '../up/settings.ts';

/** How a broker and the account there are given. */
export interface BrokerOptions {
  readonly broker: string;
  readonly username?: string;
  readonly passwordFile?: string;
  readonly ca?: string;
}

const PORTS: Readonly<Record<string, number>> = { 'mqtt:': 1883, 'mqtts:': 8883 };

function readText(option: string, file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(
      `${option}: ${file} cannot be read: ${error instanceof Error ? error.message : String(error)}`,
      { cause: error },
    );
  }
}

/** What is no URL may have a password all the same. */
function withoutAccount(text: string): string {
  return text.replace(/[^/]*@/, '…@').slice(0, 200);
}

/**
 * The broker that `--broker` names. The password comes from MUSTER_BROKER_PASSWORD or a file: every user of a machine
 * sees the command lines of all others.
 * @throws UsageError, in which nothing stands of a password
 */
export function brokerTarget(
  options: BrokerOptions,
  environment: Readonly<Record<string, string | undefined>>,
): BrokerTarget {
  const url = URL.canParse(options.broker) ? new URL(options.broker) : undefined;
  const port = url === undefined ? undefined : PORTS[url.protocol];
  if (url !== undefined && url.password !== '')
    throw new UsageError(
      'no password in --broker, where every user of this machine can read it: set MUSTER_BROKER_PASSWORD, or name a file with --password-file',
    );
  if (url === undefined || port === undefined || url.hostname === '' || !['', '/'].includes(url.pathname))
    throw new UsageError(
      `--broker expects mqtt://HOST:PORT or mqtts://HOST:PORT; found ${JSON.stringify(withoutAccount(options.broker))}`,
    );
  const username = options.username ?? (url.username === '' ? undefined : decodeURIComponent(url.username));
  const password =
    options.passwordFile === undefined
      ? environment['MUSTER_BROKER_PASSWORD']
      : readText('--password-file', options.passwordFile).split(/\r?\n/, 1)[0];
  if (options.ca !== undefined && url.protocol !== 'mqtts:')
    throw new UsageError('--ca is for mqtts://: over mqtt:// nothing is encrypted');
  return {
    name: url.hostname,
    url: `${url.protocol}//${url.hostname}:${url.port === '' ? port : url.port}`,
    username: username ?? environment['MUSTER_BROKER_USERNAME'],
    password,
    ca: options.ca === undefined ? undefined : readText('--ca', options.ca),
  };
}
