/** The filters of a SUBSCRIBE or UNSUBSCRIBE as hooks see them, with their verdicts. */
import {
  Denial,
  type FilterAnswers,
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
} from "./packet/mod.ts";
import { isTopicFilter, sharedFilter } from "./topic.ts";

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
      // `$share` means nothing before MQTT 5.
      const shared = view.version === 5 ? sharedFilter(written) : undefined;
      const options = view instanceof SubscribeView ? view.options(index) : 0;
      return {
        written,
        denial: undefined,
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
    return this.#open().map(({ current }) => current);
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

  /** Puts a hook's answers on top; throws a TypeError where one cannot be done. */
  apply(answers: FilterAnswers<FilterChange>): void {
    if (!Array.isArray(answers)) {
      throw new TypeError("Cannot use the answer: a list is wanted");
    }
    const open = this.#open();
    for (const [index, verdict] of open.entries()) {
      const answer = answers[index];
      if (answer === undefined || answer === null) continue;
      if (answer instanceof Denial) verdict.denial = answer;
      else this.#change(verdict, answer);
    }
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

  #open(): FilterVerdict[] {
    return this.verdicts.filter(({ denial }) => !denial);
  }

  #change(verdict: FilterVerdict, change: FilterChange): void {
    const { filter = verdict.current.filter, qos = verdict.current.qos } =
      change;
    if (!isTopicFilter(filter)) {
      throw new TypeError(`Cannot subscribe to "${filter}": it is no filter`);
    }
    if (!(qos >= 0 && qos <= verdict.current.qos)) {
      throw new TypeError(
        `Cannot raise the QoS from ${verdict.current.qos} to ${qos}: it can only be lowered`,
      );
    }
    verdict.current = { ...verdict.current, filter, qos };
    verdict.changed = true;
  }
}
