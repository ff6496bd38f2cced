/**
 * Topic aliases of one direction of a connection (MQTT 5, 3.3.2.3.4). What a
 * sender means by an alias and what its receiver was told are two things as
 * soon as a message between them was denied or its topic changed. Pure.
 */

/** What the two ends know of the aliases of one direction. */
export class TopicAliases {
  // Made with the first alias: most sessions use none.
  #meant: Map<number, string> | undefined;
  #told: Map<number, string> | undefined;

  /**
   * The topic that the sender means: the packet's own, which the alias stands
   * for from now on, or the one that it stood for. Undefined where it stands
   * for none.
   */
  resolve(alias: number, topic: string): string | undefined {
    if (topic === "") return this.#meant?.get(alias);
    (this.#meant ??= new Map()).set(alias, topic);
    return topic;
  }

  /** Whether the receiver was told that the alias stands for this topic. */
  isTold(alias: number, topic: string): boolean {
    return this.#told?.get(alias) === topic;
  }

  /** The receiver is told, by a message with the topic and the alias. */
  tell(alias: number, topic: string): void {
    (this.#told ??= new Map()).set(alias, topic);
  }
}
