"""The training image: lint a dataset, fine-tune with TRL and PEFT, evaluate, merge, publish artifacts."""
