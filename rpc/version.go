package rpc

import "fmt"

// WireVersion is the version of everything that the processes of a cluster say to each other. The first
// message of a stream carries it, and so does the handshake of a Raft connection.
const WireVersion = 1

// CheckWire refuses a peer that speaks another version; 0 is one that names none.
func CheckWire(got uint32) error {
	if got != WireVersion {
		return fmt.Errorf("wire_version: the peer speaks version %d, this program speaks version %d", got, WireVersion)
	}
	return nil
}
