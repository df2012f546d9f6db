//! Content: the documents of images, by digest.

use containerd_client::services::v1::{
    GetImageRequest, ReadContentRequest, content_client::ContentClient, images_client::ImagesClient,
};
use futures::TryStreamExt;
use sha2::{Digest, Sha256};
use snap_store::Namespace;

use super::{Containerd, Fault, MAX_MESSAGE_BYTES, READ_LIMIT, in_namespace};

/// Longest document of an image: the longest configurations of images are a few hundred kilobytes.
const MAX_DOCUMENT_BYTES: usize = 4 << 20;

impl Containerd {
    /// The digest an image's name points to.
    pub async fn image_digest(&self, namespace: &Namespace, name: &str) -> Result<String, Fault> {
        let channel = self.channel().await?;
        let mut client = ImagesClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let request = GetImageRequest {
            name: name.to_owned(),
        };
        let asked = client.get(in_namespace(namespace, request));
        let answer = self.within("look up image", name, READ_LIMIT, asked);
        let image = answer.await?.image;
        let target = image.and_then(|image| image.target);
        Ok(target
            .ok_or_else(|| Fault::absent("look up image", name))?
            .digest)
    }

    /// A JSON document by its digest, which is compared.
    pub async fn document(
        &self,
        namespace: &Namespace,
        digest: &str,
    ) -> Result<serde_json::Value, Fault> {
        let refused = |why: String| Fault::Refused {
            op: "read content",
            name: digest.to_owned(),
            why,
        };
        let mut client = ContentClient::new(self.channel().await?);
        let request = ReadContentRequest {
            digest: digest.to_owned(),
            offset: 0,
            size: 0,
        };
        let asked = client.read(in_namespace(namespace, request));
        let mut parts = self
            .within("read content", digest, READ_LIMIT, asked)
            .await?;
        let mut bytes = Vec::new();
        let read = async {
            while let Some(part) = parts
                .try_next()
                .await
                .map_err(|error| refused(error.message().to_owned()))?
            {
                bytes.extend(part.data);
                if bytes.len() > MAX_DOCUMENT_BYTES {
                    return Err(refused(format!(
                        "it is longer than {MAX_DOCUMENT_BYTES} bytes"
                    )));
                }
            }
            Ok(())
        };
        tokio::time::timeout(READ_LIMIT, read)
            .await
            .map_err(|_| Fault::TimedOut {
                op: "read content",
                name: digest.to_owned(),
                limit: READ_LIMIT,
            })??;
        if digest != sha256(&bytes) {
            return Err(refused("its bytes do not match it".to_owned()));
        }
        serde_json::from_slice(&bytes).map_err(|error| refused(error.to_string()))
    }
}

/// The digest of bytes as OCI writes it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let digits = digest.iter().map(|byte| format!("{byte:02x}"));
    format!("sha256:{}", digits.collect::<String>())
}
