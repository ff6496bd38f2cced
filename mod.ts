/**
 * Moves bytes between sockets: UDP and multicast dispatch.
 *
 * @module
 */
export { type Address, formatAddress, parseAddress } from "./net/address.ts";
export type { ParseAddressOptions } from "./net/address.ts";
export { OperationError, UsageError } from "./net/errors.ts";
export type { OperationErrorOptions } from "./net/errors.ts";
