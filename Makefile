.PHONY: setup
setup:
	@PYTHON="$(PYTHON)" scripts/setup
