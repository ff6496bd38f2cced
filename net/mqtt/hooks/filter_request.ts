/** The filters of a SUBSCRIBE or UNSUBSCRIBE as hooks see them, with their verdicts. */
import {
  Denial,
  type FilterChange,
  type Qos,
  type SubscribeFilter,
  type SubscribeRequest,
  type UnsubscribeRequest,
  type UserProperty,
} from "./hooks.ts";
import {
  PropertyId,
  type SubscribeEntry,
  SubscribeView,
  type UnsubscribeView,
} from "../packet/mod.ts";
import { isShare, isTopicFilter, sharedFilter } from "../topic.ts";

/** 0x8F: topic filter invalid. */
const MALFORMED_SHARE = new Denial(0x8f, "malformed shared subscription");

/** One filter with what became of it. */
export interface FilterVerdict {
  /** As the client wrote it. */
  readonly written: string;
  /** Why it does not go on. */
  denial: Denial | undefined;
  /** As it goes on, without its share. */
  current: SubscribeFilter;
  /** Whether it goes on as another one. */
  changed: boolean;
}

/** The filters of a packet on its way. */
export class FilterDraft implements SubscribeRequest, UnsubscribeRequest {
  /** One for each filter of the packet. */
  readonly verdicts: readonly FilterVerdict[];
  readonly #view: SubscribeView | UnsubscribeView;

  constructor(view: SubscribeView | UnsubscribeView) {
    this.#view = view;
    this.verdicts = Array.from({ length: view.count }, (_, index) => {
      const written = view.filter(index);
      // Brokers honour `$share` for MQTT 3.1.1 clients too (mosquitto, EMQX,
      // VerneMQ), so rules and hooks see the filter alone in all versions.
      const shared = sharedFilter(written);
      const options = view instanceof SubscribeView ? view.options(index) : 0;
      return {
        written,
        denial: isShare(shared ? shared.filter : written)
          ? MALFORMED_SHARE
          : undefined,
        changed: false,
        current: {
          filter: shared?.filter ?? written,
          share: shared?.group,
          qos: (options & 3) as Qos,
          noLocal: (options & 4) !== 0,
          retainAsPublished: (options & 8) !== 0,
          retainHandling: (options >> 4 & 3) as 0 | 1 | 2,
        },
      };
    });
  }

  get packetId(): number {
    return this.#view.packetId;
  }

  /** Those that no hook denied so far. */
  get filters(): readonly SubscribeFilter[] {
    return this.open().map(({ current }) => current);
  }

  get subscriptionIdentifier(): number | undefined {
    return this.#view.properties.number(PropertyId.SUBSCRIPTION_IDENTIFIER);
  }

  get userProperties(): readonly UserProperty[] {
    return this.#view.properties.userProperties();
  }

  /** Whether the packet goes on as it came. */
  get isUntouched(): boolean {
    return this.verdicts.every(({ denial, changed }) => !denial && !changed);
  }

  /** Whether nothing of it goes on. */
  get isAllDenied(): boolean {
    return this.verdicts.every(({ denial }) => denial);
  }

  /** The filters that no hook denied so far. */
  open(): FilterVerdict[] {
    return this.verdicts.filter(({ denial }) => !denial);
  }

  /** Puts a hook's change of one filter on top; throws a TypeError where it cannot be done. */
  change(verdict: FilterVerdict, change: FilterChange): void {
    const { filter = verdict.current.filter, qos = verdict.current.qos } =
      change;
    // A share in the change would make two of them, and hide the filter.
    if (!isTopicFilter(filter) || isShare(filter)) {
      throw new TypeError(`cannot subscribe to "${filter}": invalid filter`);
    }
    if (!(qos >= 0 && qos <= verdict.current.qos)) {
      throw new TypeError(
        `cannot raise the QoS from ${verdict.current.qos} to ${qos}: it can only be lowered`,
      );
    }
    verdict.current = { ...verdict.current, filter, qos };
    verdict.changed = true;
  }

  /** Denies all that is left. */
  denyAll(denial: Denial): void {
    for (const verdict of this.verdicts) verdict.denial ??= denial;
  }

  /** The filters that go on, for the packet's edit. */
  entries(): SubscribeEntry[] {
    return this.verdicts.flatMap(({ denial, changed, current }, index) => {
      if (denial) return [];
      if (!changed) return [{ index }];
      const { share, filter } = current;
      const entry = {
        index,
        filter: share === undefined ? filter : `$share/${share}/${filter}`,
      };
      return this.#view instanceof SubscribeView
        ? [{
          ...entry,
          options: this.#view.options(index) & ~3 | current.qos,
        }]
        : [entry];
    });
  }
}
