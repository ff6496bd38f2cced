/**
 * What the two ends of an MQTT 5 connection told each other not to send: the
 * rules that depend on what CONNECT and CONNACK said.
 */
import type { ConnackView } from "./connack.ts";
import type { ConnectView } from "./connect.ts";
import { PropertyId } from "./property_id.ts";
import { ReasonCode } from "./protocol.ts";
import type { PublishView } from "./publish.ts";
import type { SubscribeView } from "./subscribe.ts";

/** What a receiver takes; a packet beyond it is refused with the reason code beside. */
export interface PacketLimits {
  /** Highest QoS of a PUBLISH (0x9B). */
  readonly maximumQos: 0 | 1 | 2;
  /** Whether a PUBLISH may have RETAIN set (0x9A). */
  readonly retainAvailable: boolean;
  /** Highest topic alias; 0 for none (0x94). */
  readonly topicAliasMaximum: number;
  /** Whether a filter may have wildcards (0xA2). */
  readonly wildcardSubscriptions: boolean;
  /** Whether a SUBSCRIBE may have an identifier (0xA1). */
  readonly subscriptionIdentifiers: boolean;
  /** Whether a filter may be a shared one (0x9E). */
  readonly sharedSubscriptions: boolean;
  /** Whether a payload must be the text that it says it is (0x99). */
  readonly payloadFormat: boolean;
}

/** What a broker takes from its client, as its CONNACK says (3.2.2.3). */
export function limitsOfBroker(connack: ConnackView): PacketLimits {
  const { properties } = connack;
  const available = (id: number) => (properties.number(id) ?? 1) === 1;
  return {
    maximumQos:
      (properties.number(PropertyId.MAXIMUM_QOS) ?? 2) as PacketLimits[
        "maximumQos"
      ],
    retainAvailable: available(PropertyId.RETAIN_AVAILABLE),
    topicAliasMaximum: properties.number(PropertyId.TOPIC_ALIAS_MAXIMUM) ?? 0,
    wildcardSubscriptions: available(
      PropertyId.WILDCARD_SUBSCRIPTION_AVAILABLE,
    ),
    subscriptionIdentifiers: available(
      PropertyId.SUBSCRIPTION_IDENTIFIERS_AVAILABLE,
    ),
    sharedSubscriptions: available(PropertyId.SHARED_SUBSCRIPTION_AVAILABLE),
    payloadFormat: false,
  };
}

/** What a client takes from its broker, as its CONNECT says (3.1.2.11). */
export function limitsOfClient(connect: ConnectView): PacketLimits {
  return {
    maximumQos: 2,
    retainAvailable: true,
    topicAliasMaximum:
      connect.properties.number(PropertyId.TOPIC_ALIAS_MAXIMUM) ?? 0,
    wildcardSubscriptions: true,
    subscriptionIdentifiers: true,
    sharedSubscriptions: true,
    payloadFormat: false,
  };
}

/**
 * Checks a PUBLISH of MQTT 5.
 *
 * @throws {PacketError} where it goes beyond a limit.
 */
export function checkPublishLimits(
  view: PublishView,
  limits: PacketLimits,
): void {
  if (view.qos > limits.maximumQos) {
    view.fail(
      ReasonCode.QOS_NOT_SUPPORTED,
      `has QoS ${view.qos}, which its receiver does not take`,
      "MQTT-3.2.2-11",
    );
  }
  if (view.retain && !limits.retainAvailable) {
    view.fail(
      ReasonCode.RETAIN_NOT_SUPPORTED,
      "is to be retained, which its receiver does not do",
      "MQTT-3.2.2-14",
    );
  }
  if (view.topicAlias > limits.topicAliasMaximum) {
    view.fail(
      ReasonCode.TOPIC_ALIAS_INVALID,
      `has Topic Alias ${view.topicAlias}, which its receiver does not take`,
      view.upstream ? "MQTT-3.3.2-9" : "MQTT-3.3.2-11",
    );
  }
  if (limits.payloadFormat && !view.payloadFitsFormat()) {
    view.fail(
      ReasonCode.PAYLOAD_FORMAT_INVALID,
      "has a payload that is not the text it says it is",
      "3.3.2.3.2",
    );
  }
}

/**
 * Checks a SUBSCRIBE of MQTT 5.
 *
 * @throws {PacketError} where it goes beyond a limit.
 */
export function checkSubscribeLimits(
  view: SubscribeView,
  limits: PacketLimits,
): void {
  if (
    !limits.subscriptionIdentifiers &&
    view.properties.has(PropertyId.SUBSCRIPTION_IDENTIFIER)
  ) {
    view.fail(
      ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
      "has a Subscription Identifier, which its receiver does not take",
      "3.2.2.3.12",
    );
  }
  if (limits.sharedSubscriptions && limits.wildcardSubscriptions) return;
  for (let i = 0; i < view.count; i++) {
    const filter = view.filter(i);
    if (!limits.sharedSubscriptions && filter.startsWith("$share/")) {
      view.fail(
        ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
        "has a shared topic filter, which its receiver does not take",
        "3.2.2.3.13",
      );
    }
    if (!limits.wildcardSubscriptions && /[#+]/.test(filter)) {
      view.fail(
        ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
        "has a wildcard in a topic filter, which its receiver does not take",
        "3.2.2.3.11",
      );
    }
  }
}
