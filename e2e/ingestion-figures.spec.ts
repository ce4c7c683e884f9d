import { describe, expect, it } from 'vitest';
import { figuresIn } from './ingestion-figures.ts';

const metrics = `# HELP muster_ingestion_messages_total Telemetry messages received
# TYPE muster_ingestion_messages_total counter
muster_ingestion_messages_total{broker="mosquitto-0"} 40
muster_ingestion_messages_total{broker="mosquitto-1"} 2
# TYPE muster_ingestion_spool_bytes gauge
muster_ingestion_spool_bytes 1.5e+6
muster_ingestion_spool_bytes_more 7
`;

describe('figures of ingestion', () => {
  it('are sums over their labels', () => {
    const found = figuresIn(metrics, ['messages_total', 'spool_bytes']);
    expect(found).toEqual({ messages_total: 42, spool_bytes: 1_500_000 });
  });

  it('are none where there is none of that name', () => {
    expect(() => figuresIn(metrics, ['spool'])).toThrow('ingestion has no figure spool');
  });
});
