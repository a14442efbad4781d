//go:build seed

package store

import "os"

var planted = seed(os.Getenv("ATOLL_SEED"))
