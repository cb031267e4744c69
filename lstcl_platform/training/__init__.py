"""The loops in plain torch: pretrain, finetune, evaluate; optimizer, checkpoints, storage."""
