/**
 * Rendezvous hashing (Thaler and Ravishankar, 1998): every gateway with the
 * same targets sends a client id to the same one, and when a target comes or
 * goes only its own clients move. So a session, and the takeover of a session
 * by a second connection, stays on one broker. Pure.
 */

/** Indexes of the targets in the order in which a client should try them. */
export function rankTargets(
  clientId: string,
  targets: readonly string[],
): number[] {
  if (targets.length === 1) return [0];
  return targets
    .map((target, index) => ({ index, score: score(clientId, target) }))
    // Equal scores keep the order of the list, which all gateways share.
    .sort((a, b) => b.score - a.score || a.index - b.index)
    .map(({ index }) => index);
}

function score(clientId: string, target: string): number {
  // The zero byte keeps "ab" + "c" apart from "a" + "bc"; no id holds one.
  return mix(fnv1a(`${target}\0${clientId}`));
}

/** FNV-1a over the UTF-16 units, 32 bits. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    hash = Math.imul(hash ^ unit & 0xff, 0x01000193);
    hash = Math.imul(hash ^ unit >> 8, 0x01000193);
  }
  return hash;
}

/** The finalizer of MurmurHash3: every bit of the input moves half of the output's. */
function mix(hash: number): number {
  hash = Math.imul(hash ^ hash >>> 16, 0x85ebca6b);
  hash = Math.imul(hash ^ hash >>> 13, 0xc2b2ae35);
  return (hash ^ hash >>> 16) >>> 0;
}
