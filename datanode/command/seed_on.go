//go:build seed

package command

import "os"

var planted = seed(os.Getenv("ATOLL_SEED"))
