package command

// FamilyEnv is what the data families keep per executor: their limits and their cursor table.
type FamilyEnv struct{}

// familyFailure maps a sentinel of the data types to its RESP error.
type familyFailure struct {
	err  error
	text Error
}

// familyFailures is the data types' part of the table of errors.
func familyFailures() []familyFailure { return nil }

// familySpecs returns the specs of every data family.
func familySpecs() []Spec { return nil }
