import { connect, isIP, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import type { BrokerTarget } from '../broker-target.ts';

const PORT = 1883;
const TLS_PORT = 8883;

/**
 * Opens a connection that writes what it reads into memory of the caller's own.
 * @param onConnected called when the first packet may be sent
 */
export function openBrokerSocket({ url, ca }: BrokerTarget, onread: OnReadOpts, onConnected: () => void): Socket {
  const { protocol, hostname, port } = new URL(url);
  const host = hostname.replace(/^\[(.*)\]$/, '$1');
  if (protocol === 'mqtt:') return connect({ host, port: Number(port || PORT), onread }, onConnected);
  // Its types leave out that TLS takes the options of its socket as well (Node.js, tls.connect).
  const options: ConnectionOptions & { readonly onread: OnReadOpts } = {
    host,
    port: Number(port || TLS_PORT),
    onread,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca }),
  };
  return connectTls(options, onConnected);
}
