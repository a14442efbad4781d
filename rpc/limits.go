package rpc

// MessageBytesMax bounds one gRPC message to or from a data node: a forwarded command, of which a client may
// send 1 GiB, with what is around it. Metadata nodes keep gRPC's default of 4 MiB.
const MessageBytesMax = 1<<30 + 64<<20
