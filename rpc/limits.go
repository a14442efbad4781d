package rpc

// MessageBytesMax bounds one gRPC message between nodes: a forwarded command, of which a client may send
// 1 GiB, with what is around it.
const MessageBytesMax = 1<<30 + 64<<20
