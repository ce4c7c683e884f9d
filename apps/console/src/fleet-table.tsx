import { useState, type JSX } from 'react';
import { presenceStateSchema, type Device, type PresenceState, type SignedIn } from '@muster/contract';
import { ageText, valueText } from './texts.ts';
import { useLiveFleet } from './live-fleet.ts';

/** The live table of devices: state, why, and last values. */
export function FleetTable({
  session,
  onSignOut,
}: {
  readonly session: SignedIn;
  readonly onSignOut: () => Promise<void>;
}): JSX.Element {
  const { devices, updatedAt, fault } = useLiveFleet();
  const [filter, setFilter] = useState('');
  const [state, setState] = useState<PresenceState | undefined>(undefined);
  const now = Date.now();
  const wanted = filter.trim().toLowerCase();
  const shown = devices.filter(
    (device) =>
      (state === undefined || device.presence.state === state) &&
      (wanted === '' ||
        device.id.toLowerCase().includes(wanted) ||
        (device.name?.toLowerCase().includes(wanted) ?? false)),
  );
  return (
    <main>
      <header>
        <h1>Muster</h1>
        <nav aria-label="Presence">
          {presenceStateSchema.options.map((option) => {
            const count = devices.filter(({ presence }) => presence.state === option).length;
            return (
              <button
                key={option}
                type="button"
                className={`state ${option}`}
                aria-pressed={state === option}
                disabled={count === 0 && state !== option}
                onClick={() => setState(state === option ? undefined : option)}
              >
                {count} {option}
              </button>
            );
          })}
        </nav>
        <input
          type="search"
          placeholder="Device"
          aria-label="Device"
          value={filter}
          onChange={(event) => setFilter(event.target.value)}
        />
        <a href="/docs">API</a>
        <button type="button" title={`${session.name}, ${session.scope}`} onClick={() => void onSignOut()}>
          Sign out
        </button>
      </header>
      {fault !== undefined && (
        <p role="alert">
          No fresh figures: {fault}.
          {updatedAt !== undefined && ` What you see is of ${updatedAt.toLocaleTimeString()}.`}
        </p>
      )}
      <table>
        <thead>
          <tr>
            <th scope="col">Device</th>
            <th scope="col">Presence</th>
            <th scope="col">Why</th>
            <th scope="col">Since</th>
            <th scope="col">Last values</th>
            <th scope="col">Last seen</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((device) => (
            <DeviceRow key={device.id} device={device} now={now} />
          ))}
        </tbody>
      </table>
      {shown.length === 0 && <p className="empty">{emptyText(updatedAt !== undefined, devices.length)}</p>}
    </main>
  );
}

function emptyText(isLoaded: boolean, known: number): string {
  if (!isLoaded) return 'Loading…';
  return known === 0
    ? 'No devices yet. They appear by themselves when they are first heard: publish to devices/ID/telemetry.'
    : 'No device matches.';
}

function DeviceRow({ device, now }: { readonly device: Device; readonly now: number }): JSX.Element {
  const { presence, readings } = device;
  const evidence = presence.evidence;
  return (
    <tr data-device={device.id}>
      <th scope="row">
        {device.name ?? device.id}
        {device.name !== null && <small> {device.id}</small>}
      </th>
      <td>
        <span className={`state ${presence.state}`}>{presence.state}</span>
      </td>
      <td
        title={
          evidence === null ? presence.explanation : `${presence.explanation} ${evidence.topic}: ${evidence.payload}`
        }
      >
        {presence.explanation}
      </td>
      <td title={presence.since ?? ''}>{ageText(presence.since, now)}</td>
      <td>
        <div className="values">
          {Object.entries(readings).map(([metric, reading]) => (
            <span key={metric} title={reading.at}>
              {metric} <b>{valueText(reading)}</b>
            </span>
          ))}
        </div>
      </td>
      <td title={device.lastSeenAt ?? ''}>{ageText(device.lastSeenAt, now)}</td>
    </tr>
  );
}
