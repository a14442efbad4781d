package metadata

import (
	"context"

	"github.com/atolldb/atoll/metadata/consensus"
)

// Finding is one thing that a check of a metadata directory has found wrong.
type Finding = consensus.Finding

// Verified sums up what such a check has read.
type Verified = consensus.Verified

// Verify checks the directory of a stopped metadata node, and changes nothing. What is wrong is handed to say. An
// error is one of the check itself.
func Verify(ctx context.Context, dir, nodeID string, say func(Finding)) (Verified, error) {
	return consensus.Verify(ctx, dir, nodeID, say)
}
