import { PRESENCE_COLORS, PRESENCE_STATES, presenceSeries, timePanel, type Panel } from './panels.ts';
import { sql, type Query } from './queries.ts';

/** A bucket of time for each step of the dashboard's interval. */
const STEPS = `generate_series($__timeFrom()::timestamptz, least($__timeTo()::timestamptz, now()), $__interval_ms * interval '1 millisecond')`;

function forEachState(expression: (state: string) => string): string {
  return PRESENCE_STATES.map(expression).join(', ');
}

/**
 * How many devices were in each state, counted back from now: what there is today, less every change that came later. So
 * only the changes since the beginning of the range are read, however long the history is.
 */
function historyQuery(): Query {
  return sql(
    `
    WITH event AS (
      SELECT step AS time, true AS is_step, ${forEachState((state) => `0 AS ${state}`)}
      FROM ${STEPS} AS step
      UNION ALL
      SELECT at, false, ${forEachState((state) => `("to" = '${state}')::int - ("from" = '${state}')::int`)}
      FROM grafana.presence_transition WHERE in_service AND at > $__timeFrom()::timestamptz
      UNION ALL
      SELECT discovered_at, false, ${forEachState((state) => (state === 'unknown' ? '1' : '0'))}
      FROM grafana.device WHERE in_service AND discovered_at > $__timeFrom()::timestamptz
    ), later AS (
      SELECT time, is_step, ${forEachState((state) => `sum(${state}) OVER since AS ${state}`)}
      FROM event WINDOW since AS (ORDER BY time DESC, is_step DESC ROWS UNBOUNDED PRECEDING)
    ), today AS (
      SELECT ${forEachState((state) => `sum(devices) FILTER (WHERE presence = '${state}') AS ${state}`)}
      FROM grafana.presence_count
    )
    SELECT later.time, ${forEachState((state) => `greatest(0, today.${state} - later.${state}) AS ${state}`)}
    FROM later, today WHERE is_step ORDER BY later.time`,
    'time_series',
  );
}

/** Devices by presence over time, stacked. */
export function presenceHistory(width: number): Panel {
  return timePanel({
    title: 'Presence over time',
    description:
      'How many of the devices that are in service today were in each state. A step from green to red is an outage; from green to purple, a broker or a fleet that was never heard. Counted back from now by the recorded changes.',
    unit: 'none',
    noData: 'No device is in service yet. Publish a status or telemetry, and it appears.',
    width,
    stacked: true,
    queries: [historyQuery()],
    overrides: presenceSeries,
  });
}

/** Changes of presence by the state that they led to. */
export function transitionsOverTime(width: number): Panel {
  return timePanel({
    title: 'Changes of presence',
    description:
      'Changes in each interval, by the state they led to. A tall red bar is many wills at once: a network, an access point or a power cut. Green of the same height after it: they came back.',
    unit: 'none',
    noData: 'Nothing changed in this time range.',
    width,
    style: 'bars',
    stacked: true,
    queries: [
      sql(
        `
        SELECT $__timeGroupAlias(at, $__interval),
          ${forEachState((state) => `count(*) FILTER (WHERE "to" = '${state}') AS ${state}`)}
        FROM grafana.presence_transition
        WHERE $__timeFilter(at)
        GROUP BY 1 ORDER BY 1`,
        'time_series',
      ),
    ],
    overrides: presenceSeries,
  });
}

/** The six counts as they are now, as the columns of one row, worst first. */
export function presenceNow(): Query {
  return sql(`
    SELECT ${forEachState((state) => `sum(devices) FILTER (WHERE presence = '${state}') AS ${state}`)}
    FROM grafana.presence_count`);
}

/** In {@link presenceNow}, each count has the colour of its state, and only where it is not 0. */
export const presenceCountOverrides = PRESENCE_STATES.map((state) => ({
  matcher: { id: 'byName' as const, options: state },
  properties: [
    {
      id: 'thresholds',
      value: {
        mode: 'absolute',
        steps: [
          { value: null, color: 'text' },
          { value: 1, color: PRESENCE_COLORS[state] },
        ],
      },
    },
    {
      id: 'links',
      value: [{ title: 'Presence dashboard', url: '/d/muster-presence?${__url_time_range}' }],
    },
  ],
}));
