/**
 * Sizes and offsets of the C structs that are filled or read here, in bytes.
 * Names are those of the headers in camel case. All are of LP64 Linux, so the
 * same on x86-64 and aarch64, and little-endian on both.
 *
 * musl splits what glibc declares as one 64-bit length (`msg_iovlen`,
 * `msg_controllen`, `cmsg_len`) into 32 bits and a pad of zeros, so that the
 * low word, which is all that is read and written here, stands in one place.
 */

/** A struct's place in memory. */
export interface Struct {
  /** Its name in C. */
  readonly type: string;
  /** The header that declares it. */
  readonly header: string;
  /** Its `sizeof`. */
  readonly size: number;
  /** The `offsetof` of its members. */
  readonly at: Readonly<Record<string, number>>;
}

export const sockaddrIn = {
  type: "struct sockaddr_in",
  header: "netinet/in.h",
  size: 16,
  at: { sinFamily: 0, sinPort: 2, sinAddr: 4 },
} as const satisfies Struct;

export const sockaddrIn6 = {
  type: "struct sockaddr_in6",
  header: "netinet/in.h",
  size: 28,
  at: {
    sin6Family: 0,
    sin6Port: 2,
    sin6Flowinfo: 4,
    sin6Addr: 8,
    sin6ScopeId: 24,
  },
} as const satisfies Struct;

export const iovec = {
  type: "struct iovec",
  header: "sys/uio.h",
  size: 16,
  at: { iovBase: 0, iovLen: 8 },
} as const satisfies Struct;

export const msghdr = {
  type: "struct msghdr",
  header: "sys/socket.h",
  size: 56,
  at: {
    msgName: 0,
    msgNamelen: 8,
    msgIov: 16,
    msgIovlen: 24,
    msgControl: 32,
    msgControllen: 40,
    msgFlags: 48,
  },
} as const satisfies Struct;

export const mmsghdr = {
  type: "struct mmsghdr",
  header: "sys/socket.h",
  size: 64,
  at: { msgHdr: 0, msgLen: 56 },
} as const satisfies Struct;

/** Its data follows at once: 16 is a multiple of the alignment of 8. */
export const cmsghdr = {
  type: "struct cmsghdr",
  header: "sys/socket.h",
  size: 16,
  at: { cmsgLen: 0, cmsgLevel: 8, cmsgType: 12 },
} as const satisfies Struct;

/** What a socket's error queue says of a datagram; ip(7), IP_RECVERR. */
export const sockExtendedErr = {
  type: "struct sock_extended_err",
  header: "linux/errqueue.h",
  size: 16,
  at: { eeErrno: 0, eeOrigin: 4 },
} as const satisfies Struct;

export const pollfd = {
  type: "struct pollfd",
  header: "poll.h",
  size: 8,
  at: { fd: 0, events: 4, revents: 6 },
} as const satisfies Struct;

/**
 * Packed on x86-64 alone (so that 32-bit programs agree), and so not among
 * {@linkcode STRUCTS}, which are alike everywhere.
 */
export const EPOLL_EVENT: Readonly<Record<string, Struct>> = {
  // deno-lint-ignore camelcase
  x86_64: {
    type: "struct epoll_event",
    header: "sys/epoll.h",
    size: 12,
    at: { events: 0, data: 4 },
  },
  aarch64: {
    type: "struct epoll_event",
    header: "sys/epoll.h",
    size: 16,
    at: { events: 0, data: 8 },
  },
};

export const ipMreqn = {
  type: "struct ip_mreqn",
  header: "netinet/in.h",
  size: 12,
  at: { imrMultiaddr: 0, imrAddress: 4, imrIfindex: 8 },
} as const satisfies Struct;

export const ifreq = {
  type: "struct ifreq",
  header: "net/if.h",
  size: 40,
  at: { ifrName: 0, ifrAddr: 16 },
} as const satisfies Struct;

export const groupReq = {
  type: "struct group_req",
  header: "netinet/in.h",
  size: 136,
  at: { grInterface: 0, grGroup: 8 },
} as const satisfies Struct;

export const groupSourceReq = {
  type: "struct group_source_req",
  header: "netinet/in.h",
  size: 264,
  at: { gsrInterface: 0, gsrGroup: 8, gsrSource: 136 },
} as const satisfies Struct;

export const sockaddrNl = {
  type: "struct sockaddr_nl",
  header: "linux/netlink.h",
  size: 12,
  at: { nlFamily: 0, nlPid: 4, nlGroups: 8 },
} as const satisfies Struct;

export const nlmsghdr = {
  type: "struct nlmsghdr",
  header: "linux/netlink.h",
  size: 16,
  at: { nlmsgLen: 0, nlmsgType: 4, nlmsgFlags: 6, nlmsgSeq: 8, nlmsgPid: 12 },
} as const satisfies Struct;

export const nlmsgerr = {
  type: "struct nlmsgerr",
  header: "linux/netlink.h",
  size: 20,
  at: { error: 0 },
} as const satisfies Struct;

export const rtmsg = {
  type: "struct rtmsg",
  header: "linux/rtnetlink.h",
  size: 12,
  at: { rtmFamily: 0, rtmDstLen: 1 },
} as const satisfies Struct;

export const rtattr = {
  type: "struct rtattr",
  header: "linux/rtnetlink.h",
  size: 4,
  at: { rtaLen: 0, rtaType: 2 },
} as const satisfies Struct;

export const bpfInsn = {
  type: "struct bpf_insn",
  header: "linux/bpf.h",
  size: 8,
  at: { code: 0, off: 2, imm: 4 },
} as const satisfies Struct;

/** What a program of type socket filter sees of a datagram. */
export const skBuff = {
  type: "struct __sk_buff",
  header: "linux/bpf.h",
  size: 192,
  at: { len: 0, gsoSize: 176 },
} as const satisfies Struct;

/** A union: each command has members of its own. The size is what is passed. */
export const bpfAttr = {
  type: "union bpf_attr",
  header: "linux/bpf.h",
  // Short of the header's size: the kernel takes missing members as zero, and
  // an older kernel refuses only members behind its own that are not zero.
  size: 72,
  at: {
    // BPF_MAP_CREATE
    mapType: 0,
    keySize: 4,
    valueSize: 8,
    maxEntries: 12,
    // BPF_MAP_LOOKUP_ELEM
    mapFd: 0,
    key: 8,
    value: 16,
    // BPF_PROG_LOAD
    progType: 0,
    insnCnt: 4,
    insns: 8,
    license: 16,
  },
} as const satisfies Struct;

/** All of them, for the test that asks the C compiler. */
export const STRUCTS: readonly Struct[] = [
  sockaddrIn,
  sockaddrIn6,
  iovec,
  msghdr,
  mmsghdr,
  cmsghdr,
  sockExtendedErr,
  pollfd,
  ipMreqn,
  ifreq,
  groupReq,
  groupSourceReq,
  sockaddrNl,
  nlmsghdr,
  nlmsgerr,
  rtmsg,
  rtattr,
  bpfInsn,
  skBuff,
  bpfAttr,
];
