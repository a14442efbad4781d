// Package consensus runs raftfsm's state machine under Raft: it opens the stores, bootstraps or joins a
// cluster, proposes commands on whichever node leads, and answers linearizable reads.
package consensus
