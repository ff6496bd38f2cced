import type { MqttHooks, MqttSession } from "../hooks.ts";
import type { Throttle } from "../link.ts";
/** placeholder until the next commit of this branch */
export class Policy implements Throttle {
  readonly hooks: MqttHooks = {};
  pauseMs(_s: MqttSession, _m: number, _b: number, _n: number): number {
    return 0;
  }
  review(_sessions: readonly MqttSession[], _nowMs: number): void {}
  tick(_sessions: Iterable<MqttSession>, _nowMs: number): void {}
}
