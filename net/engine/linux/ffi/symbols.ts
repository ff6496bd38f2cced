/**
 * What is called in libc, with the C type behind each parameter as the man
 * pages give it. glibc and musl have all of it under these names.
 */

/** The symbol table that `Deno.dlopen` takes. */
export const SYMBOLS = {
  __errno_location: { parameters: [], result: "pointer" }, // int *
  socket: {
    parameters: [
      "i32", // int domain
      "i32", // int type
      "i32", // int protocol
    ],
    result: "i32",
  },
  bind: {
    parameters: [
      "i32", // int sockfd
      "buffer", // const struct sockaddr *addr
      "u32", // socklen_t addrlen
    ],
    result: "i32",
  },
  connect: {
    parameters: [
      "i32", // int sockfd
      "buffer", // const struct sockaddr *addr
      "u32", // socklen_t addrlen
    ],
    result: "i32",
  },
  getsockname: {
    parameters: [
      "i32", // int sockfd
      "buffer", // struct sockaddr *addr
      "buffer", // socklen_t *addrlen
    ],
    result: "i32",
  },
  setsockopt: {
    parameters: [
      "i32", // int sockfd
      "i32", // int level
      "i32", // int optname
      "buffer", // const void *optval
      "u32", // socklen_t optlen
    ],
    result: "i32",
  },
  getsockopt: {
    parameters: [
      "i32", // int sockfd
      "i32", // int level
      "i32", // int optname
      "buffer", // void *optval
      "buffer", // socklen_t *optlen
    ],
    result: "i32",
  },
  recvmmsg: {
    parameters: [
      "i32", // int sockfd
      "buffer", // struct mmsghdr *msgvec
      "u32", // unsigned int vlen
      "i32", // int flags
      "pointer", // struct timespec *timeout
    ],
    result: "i32",
  },
  sendmmsg: {
    parameters: [
      "i32", // int sockfd
      "buffer", // struct mmsghdr *msgvec
      "u32", // unsigned int vlen
      "i32", // int flags
    ],
    result: "i32",
  },
  recv: {
    parameters: [
      "i32", // int sockfd
      "buffer", // void *buf
      "usize", // size_t len
      "i32", // int flags
    ],
    result: "isize",
  },
  poll: {
    parameters: [
      "buffer", // struct pollfd *fds
      "usize", // nfds_t nfds (unsigned long)
      "i32", // int timeout
    ],
    result: "i32",
  },
  /** The same on a thread of Deno's pool, so that the event loop goes on. */
  pollAside: {
    name: "poll",
    parameters: ["buffer", "usize", "i32"],
    result: "i32",
    nonblocking: true,
  },
  eventfd: {
    parameters: [
      "u32", // unsigned int initval
      "i32", // int flags
    ],
    result: "i32",
  },
  read: {
    parameters: [
      "i32", // int fd
      "buffer", // void *buf
      "usize", // size_t count
    ],
    result: "isize",
  },
  write: {
    parameters: [
      "i32", // int fd
      "buffer", // const void *buf
      "usize", // size_t count
    ],
    result: "isize",
  },
  close: {
    parameters: ["i32"], // int fd
    result: "i32",
  },
  if_nametoindex: {
    parameters: ["buffer"], // const char *ifname
    result: "u32",
  },
  if_indextoname: {
    parameters: [
      "u32", // unsigned int ifindex
      "buffer", // char *ifname
    ],
    result: "pointer",
  },
  /** Variadic in C, as syscall; integers and pointers travel alike in both ABIs used here. */
  ioctl: {
    parameters: [
      "i32", // int fd
      "usize", // unsigned long request
      "buffer", // void *argp
    ],
    result: "i32",
  },
  bpfSyscall: {
    name: "syscall",
    parameters: [
      "isize", // long number
      "i32", // int cmd
      "buffer", // union bpf_attr *attr
      "u32", // unsigned int size
    ],
    result: "isize",
  },
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of the table, as they are called. */
export type LibcSymbols = Deno.StaticForeignLibraryInterface<typeof SYMBOLS>;
