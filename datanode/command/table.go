package command

import "slices"

// All returns the spec of every command, in the order of COMMAND. Families add their slice here.
func All() []Spec {
	return slices.Concat(
		connectionSpecs(),
		clientSpecs(),
		serverSpecs(),
		transactionSpecs(),
		processSpecs(),
		waitSpecs(),
		clusterSpecs(),
		familySpecs(),
	)
}
