import type { BrokerTarget } from '@muster/broker';
import { readRetained } from '@muster/broker';
import type { Orphan, SweepReport, SweepRequest, SweptTopic } from '@muster/contract';
import { ProblemError, type Logger } from '@muster/service';
import { clearAndLook } from './clear-topics.ts';
import type { LedgerWatch } from './ledger-watch.ts';
import type { RetainedStore } from './retained-store.ts';

/** Fewer than what brokers queue for a client unless they are told otherwise (mqtt-pitfalls R5). */
const BATCH = 500;
const READ_LIMIT_MS = 5_000;

/** Clears what no device in service has, as far as it is allowed. */
export class OrphanSweep {
  constructor(
    private readonly brokers: readonly BrokerTarget[],
    private readonly ledger: LedgerWatch,
    private readonly store: RetainedStore,
    private readonly logger: Logger,
  ) {}

  /**
   * Shows what would be cleared, or clears it and looks again.
   * @throws ProblemError 404 for a broker that is not there; 409 where there are more than the limit, or not as many as
   *   expected; then nothing has been cleared
   */
  async sweep(request: SweepRequest, actor: string): Promise<SweepReport> {
    const { preview, allow, broker, limit, expect } = request;
    if (broker !== undefined && !this.brokers.some(({ name }) => name === broker))
      throw new ProblemError(404, `no broker ${broker}; there are ${this.brokers.map(({ name }) => name).join(', ')}`);
    await this.ledger.settle();
    const orphans = await this.#orphans({ allow, ...(broker === undefined ? {} : { broker }) }, limit);
    if (expect !== undefined && orphans.length !== expect)
      throw new ProblemError(
        409,
        `${orphans.length} orphans match, and ${expect} were expected; look at the preview again. Nothing was cleared`,
      );
    if (preview)
      return { preview, count: orphans.length, items: orphans.map((orphan) => swept(orphan, 'would-clear')) };
    const byBroker = await Promise.all(
      this.brokers.map((target) =>
        this.#clearOn(
          target,
          orphans.filter((orphan) => orphan.broker === target.name),
        ),
      ),
    );
    const items = byBroker.flat();
    const cleared = items.filter(({ outcome }) => outcome === 'cleared').length;
    this.logger.info({ actor, allow, orphans: items.length, cleared }, 'orphans swept');
    return { preview, count: items.length, items };
  }

  async #orphans(
    filter: { readonly allow: readonly string[]; readonly broker?: string },
    limit: number,
  ): Promise<Orphan[]> {
    const found: Orphan[] = [];
    const names = new Set(this.brokers.map(({ name }) => name));
    let cursor: string | undefined;
    do {
      const page = await this.store.orphans(filter, { limit: 1_000, cursor });
      found.push(...page.items.filter(({ broker }) => names.has(broker)));
      cursor = page.next ?? undefined;
      if (found.length > limit)
        throw new ProblemError(
          409,
          `more than ${limit} orphans match; allow fewer topics, or raise limit (at most 10000). Nothing was cleared`,
        );
    } while (cursor !== undefined);
    return found;
  }

  async #clearOn(broker: BrokerTarget, orphans: readonly Orphan[]): Promise<SweptTopic[]> {
    const items: SweptTopic[] = [];
    for (let at = 0; at < orphans.length; at += BATCH)
      items.push(...(await this.#clearBatch(broker, orphans.slice(at, at + BATCH))));
    return items;
  }

  async #clearBatch(broker: BrokerTarget, orphans: readonly Orphan[]): Promise<SweptTopic[]> {
    const topics = orphans.map(({ topic }) => topic);
    let there: ReadonlySet<string>;
    try {
      there = new Set((await readRetained(broker, topics, READ_LIMIT_MS)).map(({ topic }) => topic));
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return orphans.map((orphan) => swept(orphan, 'not-verified', `nothing was cleared: ${why}`));
    }
    // As late as can be: a device may have been registered since the orphans were listed.
    const owners = await this.store.ownersInService(topics);
    const outcome = await clearAndLook(
      broker,
      topics.filter((topic) => there.has(topic) && !owners.has(topic)),
    );
    return orphans.map((orphan) => {
      const [owner] = owners.get(orphan.topic) ?? [];
      if (owner !== undefined) return swept(orphan, 'kept', `${owner} is in service and owns it`);
      const result = outcome.get(orphan.topic);
      if (result === undefined) return swept(orphan, 'gone-before');
      const { isClear, detail, reasonCode } = result;
      if (isClear) return swept(orphan, 'cleared', null, reasonCode);
      return swept(
        orphan,
        detail?.startsWith('not verified') === true ? 'not-verified' : 'still-there',
        detail,
        reasonCode,
      );
    });
  }
}

function swept(
  { broker, topic, device, bytes, sha256, reason }: Orphan,
  outcome: SweptTopic['outcome'],
  detail: string | null = null,
  reasonCode: number | null = null,
): SweptTopic {
  return { broker, topic, device, bytes, sha256, reason, outcome, detail, reasonCode };
}
