from redoxmd.aimd.records import LabelRecord
from redoxmd.config.declared import runtime_settings
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import write_json
from redoxmd.jobs.job import job
from redoxmd.label import check_failures

with job("label", snakemake.log[0]):
    settings = runtime_settings(snakemake.config).label
    records = [LabelRecord.read(path) for path in snakemake.input.records]
    summary = check_failures(records, settings, int(snakemake.wildcards.gen))
    write_frames(snakemake.output.frames, [frame for path in snakemake.input.frames for frame in read_frames(path)])
    write_json(snakemake.output.summary, summary)
